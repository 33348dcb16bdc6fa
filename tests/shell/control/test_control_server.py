"""The server over real sockets: logins, map streams, restarts, and those who mean no good."""

import asyncio
import dataclasses
import json
import os
import socket
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from ginnel.core.control import limits
from ginnel.core.control.login import Hold
from ginnel.core.control.registry import Refused
from ginnel.shell.control import channel_connection, coordinator, front
from ginnel.shell.control.admin import Approve, CreateKey, NodeName, Nothing
from ginnel.shell.control.beside import StartError
from ginnel.shell.control.front import source_of
from ginnel.shell.control.listen import unix_server
from ginnel.shell.control.run import ControlServer
from ginnel.shell.control.store import StoreUnavailable
from ginnel.wire.invite import parse_invite
from ginnel.wire.proxyv2 import encode_preamble
from ginnel.words import NodeId
from tests.shell.control.control_client import PATIENCE, Client, Lost, auth_key, running, until


async def joined(server: ControlServer, name: str) -> Client:
    client = Client(server, name)
    await client.connect()
    answer = await client.register(await auth_key(server))
    assert answer["Error"] == ""
    return client


async def test_a_node_logs_in_by_key_and_gets_its_map(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        answer = await client.register(await auth_key(server))
        assert (answer["MachineAuthorized"], answer["AuthURL"], answer["Login"]["LoginName"]) == (True, "", "default")
        first = await (await client.stream()).frame()
        assert first["Node"]["Key"] == str(client.key.public())
        assert first["PacketFilters"]["base"][0]["SrcIPs"] == ["*"]
        assert await client.lite() == (200, b"")


async def test_an_admins_word_releases_a_waiting_login(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        url = (await client.register())["AuthURL"]
        waiting = client.start("/machine/register", json.dumps(client.login(Followup=url)).encode())
        (pending,) = await server.admin.auth_list(Nothing(), "test")
        assert url.endswith("/register/" + pending["id"])
        await server.admin.auth_approve(Approve(url, "default"), "test")
        status, answer = await client.finish(waiting)
        assert (status, json.loads(answer)["MachineAuthorized"]) == (200, True)


async def test_a_login_that_is_over_before_its_wait_begins_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        async with asyncio.timeout(PATIENCE):
            await server.coordinator.logins._wait_for(Hold("gone"))


async def test_a_change_reaches_the_other_node(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        a, b = await joined(server, "a"), await joined(server, "b")
        try:
            stream = await a.stream(Compress="")
            assert [peer["Name"] for peer in (await stream.frame())["Peers"]] == ["b.mesh.internal."]
            await b.lite()
            assert (await stream.until("PeersChanged"))["PeersChanged"][0]["DiscoKey"] == b.disco
            net_info = b.hostinfo(NetInfo={"PreferredDERP": 7})
            await b.lite(Hostinfo=net_info, Endpoints=["127.0.0.1:1", "192.0.2.9:41641"], EndpointTypes=[1, 2])
            home, endpoints = await stream.until("PeersChangedPatch"), await stream.until("PeersChangedPatch")
            assert home["PeersChangedPatch"] == [{"NodeID": 2, "DERPRegion": 7}]
            assert endpoints["PeersChangedPatch"] == [{"NodeID": 2, "Endpoints": ["192.0.2.9:41641"]}]
        finally:
            await a.hang_up()
            await b.hang_up()


async def test_another_host_name_is_another_label(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = await joined(server, "a")
        stream = await client.stream()
        assert (await stream.frame())["Node"]["Name"] == "a.mesh.internal."
        await client.lite(Hostinfo={"Hostname": "b", "OS": "linux"})
        assert (await stream.until("Node"))["Node"]["Name"] == "b.mesh.internal."
        await client.hang_up()


async def test_a_restart_keeps_everything_and_nobody_logs_in_again(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = await joined(server, "laptop")
        first = await (await client.stream()).frame()
        await client.lite(Endpoints=["192.0.2.9:41641"])
        peer = await joined(server, "peer")
        key = server.admin.joining.server_key
        await client.hang_up()
        await peer.hang_up()
    async with running(tmp_path) as server:
        assert server.admin.joining.server_key == key
        client.server = peer.server = server
        await client.connect()
        await peer.connect()
        again = await (await client.stream()).frame()
        for member in ("ID", "Key", "Addresses", "Name", "Created"):
            assert again["Node"][member] == first["Node"][member]
        shown = (await (await peer.stream()).frame())["Peers"]
        assert [p["Endpoints"] for p in shown] == [["192.0.2.9:41641"]]
        assert (await client.register())["MachineAuthorized"]
        await client.hang_up()
        await peer.hang_up()


async def test_sixty_four_redemptions_of_a_one_shot_key_make_one_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_REFUSAL_DELAY", 0.0)
    async with running(tmp_path) as server:
        key = await auth_key(server)
        clients = [Client(server, f"n{number}") for number in range(64)]
        for client in clients:
            await client.connect()
        answers = await asyncio.gather(*(client.register(key) for client in clients))
        assert sorted({answer["Error"] for answer in answers}) == ["", "authkey already used"]
        assert [answer["Error"] for answer in answers].count("") == 1
        assert len(server.coordinator.registry.nodes) == 1
        for client in clients:
            await client.hang_up()


async def test_a_policy_change_is_told_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        a, b = await joined(server, "a"), await joined(server, "b")
        stream = await a.stream()
        assert (await stream.frame())["Peers"]
        with pytest.raises(Refused, match="line 2"):
            await server.coordinator.set_policy('{\n"acls": 7}', "test")
        assert server.coordinator.registry.policy is None
        await server.coordinator.set_policy('{"acls": []}', "test")
        assert (await stream.until("PeersRemoved"))["PeersRemoved"] == [2]
        assert (await stream.until("PacketFilters"))["PacketFilters"] == {"base": []}
        await a.hang_up()
        await b.hang_up()


async def test_an_unreadable_policy_file_at_the_first_start_denies_all(tmp_path: Path) -> None:
    policy = tmp_path / "policy.hujson"
    policy.write_text('{"acls": [{"action": "allow"}]}')
    async with running(tmp_path / "state", policy=str(policy)) as server:
        a, b = await joined(server, "a"), await joined(server, "b")
        first = await (await a.stream()).frame()
        assert "Peers" not in first
        assert first["PacketFilters"] == {"base": []}
        policy.write_text('{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]} // all')
        assert await server.load_policy_file()
        await a.hang_up()
        await b.hang_up()


async def test_a_locked_database_refuses_logins_and_maps_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        key = await auth_key(server)
        a = await joined(server, "a")
        stream = await a.stream()
        await stream.frame()
        import sqlite3

        blocker = sqlite3.connect(tmp_path / "ginnel.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        async with Client(server, "late") as late:
            status, answer = await late.post("/machine/register", late.login(key))
            assert (status, b"store" in answer) == (503, True)
            assert len(server.coordinator.registry.nodes) == 1
            assert await a.lite(Endpoints=["192.0.2.1:1"]) == (200, b"")
            assert (await (await a.stream()).frame())["Node"]
            blocker.rollback()
            blocker.close()
            assert (await late.register(key))["Error"] == ""
            node = server.coordinator.registry.nodes[NodeId(2)]
            assert (node.ipv4, node.label) == ("100.64.0.2", "late")  # what the failed try had drawn is drawn again
            assert server.coordinator.registry.status[NodeId(1)].endpoints == ("192.0.2.1:1",)
        await a.hang_up()


async def test_a_newer_stream_ends_the_older_and_a_reset_ends_one(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = await joined(server, "a")
        old = await client.stream()
        await old.frame()
        new = await client.stream()
        await new.frame()
        with pytest.raises(Lost):
            await old.until("nothing")
        assert len(server.coordinator.mapper.streams) == 1
        client.cancel(new.number)
        await client.lite()  # its answer comes after the reset was seen
        assert server.coordinator.mapper.streams == {}
        await client.hang_up()


# --- strangers -------------------------------------------------------------------------------------------------


async def test_a_map_for_anothers_node_key_reads_as_for_an_unknown_one(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server, "thief") as thief:
        victim = await joined(server, "victim")
        unknown = await thief.post("/machine/map", thief.map_request(Stream=True))
        stolen = await thief.post("/machine/map", thief.map_request(Stream=True, NodeKey=str(victim.key.public())))
        assert unknown == stolen == (404, b"node not found\n")
        assert (await (await victim.stream()).frame())["Node"]["ID"] == 1
        await victim.hang_up()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"NodeKey":""}', b'{"NodeKey":7}', b"\xff", b"[" * 100_000])
async def test_a_bad_body_is_answered_and_the_connection_goes_on(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        for path in ("/machine/register", "/machine/map"):
            status, _ = await client.post(path, body)
            assert status == 400
        assert (await client.register(await auth_key(server)))["Error"] == ""


async def test_a_relay_is_told_to_admit_members_and_no_logged_out_ones(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = await joined(server, "a")
        body = json.dumps({"NodePublic": str(client.key.public())}).encode()
        ask = b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        assert b'{"Allow":true}' in await say(server, ask)
        await server.admin.nodes_expire(NodeName("a"), "test")
        assert b'{"Allow":false}' in await say(server, ask)
        await client.hang_up()


async def test_an_old_version_is_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        status, answer = await client.post("/machine/map", client.map_request(Version=100))
        assert status == 400
        assert b"unsupported client version: 100" in answer


async def test_an_unknown_path_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        assert (await client.post("/machine/set-dns", b"{}"))[0] == 501
        assert (await client.post("/elsewhere", b"{}"))[0] == 404


async def test_who_asks_is_told_who_it_is(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server, "laptop") as client:
        machine = client.machine.public()
        assert await client.post("/machine/whoami", b"") == (200, f"{machine}: no machine of this mesh\n".encode())
        await client.register(await auth_key(server))
        assert await client.post("/machine/whoami", b"") == (200, f"{machine}: laptop\n".encode())


async def test_a_body_over_the_limit_loses_its_request_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        with pytest.raises(Lost):
            await client.post("/machine/register", b" " * (limits.MAX_REQUEST_BODY + 1))
        assert (await client.register(await auth_key(server)))["Error"] == ""


async def say(server: ControlServer, data: bytes) -> bytes:
    """What a plain socket hears back until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.plain_ports()[0])
    writer.write(data)
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


UPGRADE = b"POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (os.urandom(4096), b"400"),
        (b"\x16\x03\x01\x02\x00\x01", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * limits.MAX_HEAD + b"\r\n\r\n", b"431"),
        (b"GET\x00 / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /ts2021 HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"POST /ts2021 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\n\r\n", b"400"),
        (UPGRADE + b"X-Tailscale-Handshake: AAAA\r\n\r\n", b"400"),
        (UPGRADE + b"X-Tailscale-Handshake: !\r\n\r\n", b"400"),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /key HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, b"413"),
        (b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (b"GET /register/%3Cscript%3E HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_nobody_else_disturbed(
    tmp_path: Path, data: bytes, status: bytes
) -> None:
    async with running(tmp_path) as server:
        answer = await say(server, data)
        assert answer == b"" or answer.split()[1] == status
        assert b"200 OK" in await say(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_the_plain_pages(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        key = await say(server, b"GET /key?v=130 HTTP/1.1\r\nHost: x\r\n\r\n")
        body = json.loads(key.partition(b"\r\n\r\n")[2])
        assert body == {
            "legacyPublicKey": "mkey:" + 64 * "0",
            "publicKey": str(server.admin.joining.server_key),
        }
        derp = await say(server, b"GET /derpmap/default HTTP/1.1\r\nHost: x\r\n\r\n")
        tag = next(line for line in derp.split(b"\r\n") if line.startswith(b"etag: ")).removeprefix(b"etag: ")
        again = b"GET /derpmap/default HTTP/1.1\r\nHost: x\r\nIf-None-Match: " + tag + b"\r\n\r\n"
        assert b"304" in (await say(server, again)).split(b"\r\n")[0]
        for method in (b"GET", b"HEAD"):  # `curl -I` is how people look whether a firewall lets them through
            assert (await say(server, method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert b"ginnel auth approve abc123" in await say(server, b"GET /register/abc123 HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_the_relay_may_ask_who_is_a_member(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as stranger:
        member = await joined(server, "a")
        for client, allowed in ((member, True), (stranger, False)):
            body = json.dumps({"NodePublic": str(client.key.public()), "Source": "192.0.2.1"}).encode()
            head = f"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            answer = await say(server, head + body)
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"Allow": allowed}
        await member.hang_up()


async def test_a_spliced_connection_needs_its_preamble(tmp_path: Path) -> None:
    from ginnel.shell.control.front import FrontProtocol

    async with running(tmp_path) as server:
        path = tmp_path / "splice.sock"
        assert server._keeper is not None
        server._servers.append(await unix_server(path, lambda: FrontProtocol(server._keeper, spliced=True)))  # type: ignore[arg-type]
        request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        for sent, expected in (
            (encode_preamble(("192.0.2.7", 5), tls=True) + request, b"200 OK"),
            (request, b""),
            (os.urandom(64), b""),
        ):
            reader, writer = await asyncio.open_unix_connection(str(path))
            for byte in sent:  # however it is cut
                writer.write(bytes([byte]))
            async with asyncio.timeout(PATIENCE):
                try:
                    answer = await reader.read()
                except ConnectionError:
                    answer = b""
            assert expected in answer
            assert bool(answer) == bool(expected)
            writer.close()


async def test_who_opens_a_channel_and_asks_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT", 0.01)
    async with running(tmp_path) as server, Client(server) as client:
        async with asyncio.timeout(PATIENCE):
            await client.closed.wait()


async def test_who_never_ends_a_request_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        await client.lite()
        monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.0)
        stranger = next(iter(server.strangers))
        head = [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/machine/map")]
        h2 = client.channel._exchanges._h2
        h2.send_headers(h2.get_next_available_stream_id(), [*head, ("content-length", "5")])
        client.writer.write(client.channel._seal(h2.data_to_send()))
        await until(lambda: bool(stranger._incoming))
        stranger._check()
        async with asyncio.timeout(PATIENCE):
            await client.closed.wait()


async def test_a_connection_that_does_nothing_any_more_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        await client.lite()
        stranger = next(iter(server.strangers))
        stranger._check()
        assert not stranger._transport.is_closing()
        monkeypatch.setattr(limits, "IDLE_TIMEOUT", 0.0)
        stranger._check()
        async with asyncio.timeout(PATIENCE):
            await client.closed.wait()


async def test_a_silent_node_is_asked_whether_it_lives_and_lives_by_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as server:
        client = Client(server)
        await client.connect()
        (stranger,) = server.strangers
        await client.register(await auth_key(server))
        stream = await client.stream()
        await stream.frame()
        monkeypatch.setattr(limits, "PING_AFTER", 0.0)
        heard = stranger._heard
        stranger._check()
        await until(lambda: stranger._heard != heard)
        monkeypatch.setattr(limits, "DEAD_AFTER", 0.0)
        stranger._check()
        async with asyncio.timeout(PATIENCE):
            await client.closed.wait()
        await client.hang_up()


async def test_a_plain_connection_lives_for_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "PLAIN_LIFETIME", 0.01)
    async with running(tmp_path) as server:
        assert await say(server, b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n") == b""


async def test_a_refused_login_is_answered_late_and_nothing_else_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FIRST_REFUSAL_DELAY", 1e6)
    monkeypatch.setattr(limits, "MAX_REFUSAL_DELAY", 1e6)
    async with running(tmp_path) as server, Client(server) as client:
        refused = client.start("/machine/register", json.dumps(client.login("gkey-a-b")).encode())
        await until(lambda: server.coordinator.logins.refused == 1)
        assert (await client.post("/machine/map", client.map_request()))[0] == 404
        assert client._inboxes[refused].empty()


async def test_who_waits_for_an_admins_word_and_leaves_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        async with Client(server) as client:
            url = (await client.register())["AuthURL"]
            client.start("/machine/register", json.dumps(client.login(Followup=url)).encode())
            await until(lambda: bool(server.coordinator.logins._waiting))
        await until(lambda: not server.coordinator.logins._waiting)


async def test_a_half_sent_head_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT", 0.01)
    async with running(tmp_path) as server:
        assert await say(server, b"GET / HTTP/1.1\r\n") == b""


async def test_one_source_has_so_many_connections_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS_PER_SOURCE", 1)
    monkeypatch.setattr(limits, "HEAD_TIMEOUT", 1e6)  # it is not that which ends the second one
    async with running(tmp_path) as server, Client(server):
        assert await say(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") == b""


async def test_too_many_strangers_push_out_their_oldest_and_no_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as server:
        member = await joined(server, "a")
        await member.lite()  # a member does not count
        monkeypatch.setattr(limits, "MAX_STRANGERS", 1)
        async with Client(server) as oldest, Client(server, "b") as newest:
            async with asyncio.timeout(PATIENCE):
                await oldest.closed.wait()
            assert (await newest.register(await auth_key(server)))["Error"] == ""
        assert await member.lite() == (200, b"")
        await member.hang_up()


async def test_bodies_that_never_end_are_bounded_for_all_requests_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_STRANGERS_BODY", 1000)
    async with running(tmp_path) as server, Client(server) as client:
        h2 = client.channel._exchanges._h2
        head = [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/machine/map")]
        for _ in range(4):
            stream = h2.get_next_available_stream_id()
            h2.send_headers(stream, [*head, ("content-length", "1000")])
            h2.send_data(stream, bytes(400))
        client.writer.write(client.channel._seal(h2.data_to_send()))
        (stranger,) = server.strangers
        await until(lambda: server.coordinator.counters.get("control.body_too_large") == 2)
        assert sum(len(incoming.body) for incoming in stranger._incoming.values()) == 800


async def test_a_stream_whose_first_frame_does_not_fit_leaves_nobody_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as server:
        client = await joined(server, "a")
        await client.hang_up()
        narrow = dataclasses.replace(channel_connection.CHANNEL_LIMITS, queue=100)
        monkeypatch.setattr(channel_connection, "CHANNEL_LIMITS", narrow)
        await client.connect()
        with pytest.raises(Lost):
            await client.post("/machine/map", client.map_request())  # once and whole: it cannot be said either
        client.start("/machine/map", json.dumps(client.map_request(Stream=True)).encode())
        await until(lambda: server.coordinator.counters.get("control.slow_reader") == 1)
        assert server.coordinator.mapper.streams == {}
        await client.hang_up()


async def test_a_fault_in_a_seconds_work_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(coordinator, "TICK", 0.0)
    async with running(tmp_path) as server:

        def broken(*moment: object) -> None:
            calls.append(moment)
            raise KeyError

        monkeypatch.setattr(server.coordinator, "_check_expiry", broken)
        await until(lambda: len(calls) > 1)
        assert b"200 OK" in await say(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_a_fault_in_a_registration_is_answered_and_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as server, Client(server) as client:

        def broken(*_: object) -> None:
            raise OverflowError

        with monkeypatch.context() as patch:
            patch.setattr(server.coordinator.desk.registry, "may_claim", broken)
            assert (await client.post("/machine/register", client.login()))[0] == 500
        assert (await client.register(await auth_key(server)))["Error"] == ""


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "local"),
    ],
)
def test_a_source_has_one_spelling(address: str, source: str) -> None:
    assert source_of(address) == source


# --- state -----------------------------------------------------------------------------------------------------


async def test_keys_and_database_are_private_and_the_key_is_in_neither_log_nor_listing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with running(state) as server:
        key = await auth_key(server)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert {modes["noise_private.key"], modes["ginnel.db"], modes["admin.sock"]} == {0o600}
    secret = key.rpartition("-")[2].encode()
    assert all(secret not in path.read_bytes() for path in state.iterdir() if path.is_file())


async def test_a_damaged_server_key_stops_the_start(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    (tmp_path / "noise_private.key").write_text("privkey:00")
    with pytest.raises(StartError, match="restore it from a backup"):
        async with running(tmp_path):
            pass
    assert (tmp_path / "noise_private.key").read_text() == "privkey:00"


async def test_two_servers_on_one_state_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path):
        with pytest.raises(StartError, match="another server uses"):
            async with running(tmp_path):
                pass


async def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartError, match="Address already in use"):
            async with running(tmp_path, listen_plain=(f"127.0.0.1:{taken.getsockname()[1]}",)):
                pass
    async with running(tmp_path):
        pass  # nothing half-made was left behind


async def test_the_first_invite_works(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        invite = parse_invite(await server.new_invite())
        assert (invite.url, invite.server_key, invite.pin) == (
            "http://127.0.0.1:1",
            server.admin.joining.server_key,
            None,
        )
        assert (await client.register(invite.auth_key))["Error"] == ""


async def test_every_change_is_audited_without_secrets(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        key = await auth_key(server)
        async with Client(server) as client:
            await client.register(key)
        trail = await server.admin.audit_list(Nothing(), "test")
        assert [entry["verb"] for entry in reversed(trail)] == ["user create", "preauthkey create", "register"]
        assert key.rpartition("-")[2] not in str(trail)


async def test_a_commit_that_fails_changes_nothing_in_memory(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        assert server._store is not None
        with server._store._engine.begin() as connection:
            connection.execute(text("DROP TABLE users"))
        from ginnel.shell.control.admin import UserName

        with pytest.raises(StoreUnavailable):
            await server.admin.users_create(UserName("bob"), "test")
        assert [user.name for user in server.coordinator.registry.users.values()] == ["default"]


async def test_a_registration_whose_client_leaves_is_whole_or_not_there(tmp_path: Path) -> None:
    """The answer is not waited for, yet what reached the database is also in memory."""
    async with running(tmp_path) as server:
        key = await auth_key(server)
        client = Client(server)
        await client.connect()
        client.cancel(client.start("/machine/register", json.dumps(client.login(key)).encode()))
        await client.lite()  # answered after the reset was seen
        await server.admin.preauthkeys_create(CreateKey(user="default"), "test")  # queues behind the registration
        in_memory = set(server.coordinator.registry.nodes)
        await client.hang_up()
    async with running(tmp_path) as server:
        assert set(server.coordinator.registry.nodes) == in_memory
