"""What the firewall FAQ promises beyond its own twelve lines (test_acceptance.py), seen on the wires of one mesh.

alice and bob are behind hard NATs, carol and erin behind home routers, dave has a public address. Nobody has spoken to
anybody when they begin, and there is one region; a second, whose relay does not say that it answers on port 80,
joins later. The tests run in this order.
"""

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ginnel.lab.capture import telltale
from ginnel.lab.diagnosis.world import NYC, World
from ginnel.lab.kinds import NODE_PORT, SERVER, network
from ginnel.lab.processes import until
from ginnel.lab.tally import Packet, Tally
from ginnel.lab.topology import INTERNET
from ginnel.shell.node.state import StateFile
from tests.lab.acceptance_world import LIMIT, icmp, knows, said, shell, talking, way
from tests.lab.memory import holds

pytestmark = pytest.mark.root

MEGABYTE = 1 << 20
LOG = "log.example"
SAW = """
add table ip watch
add set ip watch stun { type ipv4_addr; flags dynamic; size 4096; }
add set ip watch port80 { type ipv4_addr; flags dynamic; size 4096; }
add chain ip watch forwarded { type filter hook forward priority -300; }
add rule ip watch forwarded udp dport 3478 update @stun { ip daddr }
add rule ip watch forwarded tcp dport 80 update @port80 { ip daddr }
"""

COUNTED = """
add table ip counted
add counter ip counted by443
add counter ip counted otherwise
add chain ip counted forwarded {{ type filter hook forward priority -300; }}
add rule ip counted forwarded iifname "lan0" meta length > 1000 ip daddr {relay} tcp dport 443 counter name by443 accept
add rule ip counted forwarded iifname "lan0" meta length > 1000 ip daddr != {control} counter name otherwise
"""


class Silent80(World):
    """derp-b answers on port 80 and does not say so in the map."""

    def start_relay(self, name: str) -> dict[str, Any]:
        entry = super().start_relay(name)
        entry["Nodes"][0]["CanPort80"] = name != "derp-b"
        return entry


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    machines = network(alice="hard-random", bob="hard-random", carol="easy", dave="none", erin="easy")
    with Silent80(machines, random.Random(1), ("derp-a", "derp-b"), f'[log_host]\nnames = ["{LOG}"]\n') as standing:
        standing.nft(INTERNET, SAW)
        standing.in_map = ("derp-a",)
        standing.start()
        standing.join()
        for peer in ("carol", "dave", "erin"):
            until(lambda peer=peer: knows(standing, peer), LIMIT, f"alice to know {peer}")  # type: ignore[misc]
        yield standing


@pytest.fixture
def heals(world: World) -> Iterator[World]:
    """What is blocked at somebody's router is open again afterwards."""
    yield world
    for host in ("carol", "erin"):
        world.lab.unblock(world.router(host))


def row(world: World, host: str, peer: str) -> str:
    """What `ginnel status` says of a peer in the last column."""
    table = said(world, host, "status")
    return next(line.split("linux", 1)[1].strip() for line in table.splitlines() if f" {peer} " in line)


def traffic(world: World, host: str, peer: str) -> tuple[int, int]:
    """tx and rx, as `ginnel status` counts them."""
    sent, received = re.findall(r"tx (\d+) rx (\d+)", row(world, host, peer))[0]
    return int(sent), int(received)


def watched(world: World, name: str) -> set[str]:
    listed = json.loads(shell(world, INTERNET, f"nft -j list set ip watch {name}"))
    return {str(entry) for part in listed["nftables"] if "set" in part for entry in part["set"].get("elem", ())}


def spoken(tally: Tally, remote: str) -> list[Packet]:
    return [packet for packet in tally.packets if packet.remote == remote]


def test_the_daemon_listens_on_the_documented_port(world: World) -> None:
    running = world.members["dave"].daemon
    assert running is not None
    listening = [line for line in shell(world, "dave", "ss -Hlunp").splitlines() if f"pid={running.popen.pid}," in line]
    assert f"0.0.0.0:{NODE_PORT}" in [line.split()[3] for line in listening]


def test_a_pair_whose_udp_is_let_through_at_last_turns_direct_under_its_stream(heals: World) -> None:
    heals.drop("erin", "meta l4proto udp")
    with talking(heals, "erin", "dave") as stream:
        stream.send_and_wait(bytes(MEGABYTE), LIMIT)
        assert "* UDP: false" in said(heals, "erin", "netcheck")  # meanwhile the first, quick rounds are over
        assert (way(heals, "erin", "dave"), way(heals, "dave", "erin")) == ("relay", "relay")
        heals.lab.unblock(heals.router("erin"))
        until(lambda: way(heals, "erin", "dave") == way(heals, "dave", "erin") == "direct" or None, 20, "direct")
        stream.send_and_wait(bytes(MEGABYTE), LIMIT)
        assert stream.intact()


def test_a_direct_pair_speaks_wireguard_between_the_addresses_that_status_shows(world: World) -> None:
    """The pair may not use relays meanwhile, or its first handshake would go by one."""
    outside = world.lab.addresses[world.router("carol")]
    for host, peer in (("carol", "dave"), ("dave", "carol")):
        said(world, host, "path", peer, "direct")
    with Tally(world.lab.spaces["dave"]) as tally, talking(world, "carol", "dave") as stream:
        until(lambda: way(world, "carol", "dave") == way(world, "dave", "carol") == "direct" or None, 20, "direct")
        before = traffic(world, "carol", "dave"), traffic(world, "dave", "carol")
        stream.send_and_wait(bytes(10 * MEGABYTE), LIMIT)
        after = traffic(world, "carol", "dave"), traffic(world, "dave", "carol")
        theirs, ours = row(world, "dave", "carol"), row(world, "carol", "dave")
    for host, peer in (("carol", "dave"), ("dave", "carol")):
        said(world, host, "path", peer, "default")
    sent, received = after[0][0] - before[0][0], after[1][1] - before[1][1]
    assert 10 * MEGABYTE < sent < 11.5 * MEGABYTE
    assert 10 * MEGABYTE < received < 11.5 * MEGABYTE
    packets = spoken(tally, outside)
    assert {packet.kind for packet in packets} <= {"initiation", "response", "data", "disco"}
    assert {"initiation", "response", "data"} <= {packet.kind for packet in packets}
    carried = {(packet.port, packet.detail) for packet in packets if packet.kind == "data"}
    assert carried == {(NODE_PORT, f"by {NODE_PORT}")}
    assert f"active; direct {outside}:{NODE_PORT}," in theirs
    assert f"active; direct {world.lab.addresses['dave']}:{NODE_PORT}," in ours


def test_a_relayed_pair_needs_tcp_443_and_the_relay_never_holds_its_keys_or_words(world: World) -> None:
    relay = world.lab.addresses["derp-a"]
    said(world, "alice", "path", "bob", "relay")
    payload, needle = telltale(MEGABYTE // 64)
    world.nft(world.router("alice"), COUNTED.format(relay=relay, control=world.control_address))
    with talking(world, "alice", "bob") as stream:
        stream.send_and_wait(payload, LIMIT)
        assert 'active; relay "fra", tx ' in row(world, "alice", "bob")
        assert 'active; relay "fra", tx ' in row(world, "bob", "alice")
        keys = {name: private_key(world, name) for name in ("alice", "bob")}
        found = holds(world.relays["derp-a"].popen.pid, [needle, *keys.values()])
        daemon = world.members["alice"].daemon
        assert daemon is not None
        assert holds(daemon.popen.pid, [keys["alice"]]) == {keys["alice"]}  # where one is, it is found
    assert found == set()
    assert counted(world, "by443") > MEGABYTE
    assert counted(world, "otherwise") == 0


def counted(world: World, name: str) -> int:
    """Bytes of alice's large packets."""
    listed = json.loads(shell(world, world.router("alice"), f"nft -j list counter ip counted {name}"))
    return next(int(part["counter"]["bytes"]) for part in listed["nftables"] if "counter" in part)


def test_a_relay_is_tried_step_by_step_at_its_port_443(world: World) -> None:
    relay = world.lab.addresses["derp-a"]
    with Tally(world.lab.spaces["alice"]) as tally:
        tried = json.loads(said(world, "alice", "debug", "derp", "fra"))
    assert tried["Errors"] == []
    assert any(line.endswith(f"at {relay} port 443: TLS and 5 DERP logins succeeded") for line in tried["Info"])
    assert {packet.port for packet in tally.packets if packet.kind == "tcp"} == {443, 80}  # 80: portals alone


def private_key(world: World, host: str) -> bytes:
    node = StateFile(world.lab.directory / host / "state").read().node
    assert node is not None
    return node.raw


def test_a_region_that_joins_the_map_is_known_to_who_is_connected(world: World) -> None:
    daemon = world.members["dave"].daemon
    assert daemon is not None
    assert str(NYC) not in regions(world, "dave")
    world.put_map("derp-a", "derp-b")
    until(lambda: regions(world, "dave").get(str(NYC)), LIMIT, "dave to know the new region")
    assert daemon.ended() is None
    assert regions(world, "dave")[str(NYC)]["RegionCode"] == "nyc"
    assert json.loads(said(world, "dave", "debug", "derp", "nyc"))["Errors"] == []


def regions(world: World, host: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(world, host, "debug", "derp-map"))["Regions"]
    return found


def test_every_host_behind_port_443_is_in_the_plan(world: World) -> None:
    plan = json.loads(said(world, "dave", "firewall", "plan", "--profile", "pinned", "--json"))
    (https,) = [need for need in plan["needs"] if need["id"] == "https"]
    assert (https["protocol"], https["port"]) == ("tcp", 443)
    assert https["to"] == ["control.example", LOG, "derp-a.example", "derp-b.example"]


def test_curl_finds_the_server_at_443_and_the_relay_s_answer_at_80(world: World) -> None:
    (certificate,) = (world.lab.directory / SERVER / "state").rglob("*.crt")
    (world.lab.directory / "dave" / "trust.pem").write_bytes(certificate.read_bytes())
    trusted = world.lab.inside_path("trust.pem")
    head = shell(world, "dave", f"curl -sS -I --cacert {trusted} {world.server.url}/")
    assert head.startswith("HTTP/1.1 200 ")
    address = "http://derp-a.example/generate_204"
    assert shell(world, "dave", f"curl -s -o /dev/null -w '%{{http_code}}' {address}") == "204"
    answer = shell(world, "dave", f"curl -s -H 'X-Tailscale-Challenge: ts_x' -i {address}").lower()
    assert "x-tailscale-response: response ts_x\n" in answer
    assert answer.partition("\n\n")[2] == ""


def test_only_relays_that_say_so_are_asked_on_port_80_and_only_relays_for_stun(heals: World) -> None:
    shell(heals, INTERNET, "nft flush set ip watch port80")
    heals.drop("carol", "meta l4proto udp")
    assert "* UDP: false" in said(heals, "carol", "netcheck")
    assert watched(heals, "port80") == {heals.lab.addresses["derp-a"]}
    assert watched(heals, "stun") == {heals.lab.addresses["derp-a"], heals.lab.addresses["derp-b"]}


def test_without_control_tunnels_go_on_and_rules_follow_the_policy_once_it_is_heard(heals: World) -> None:
    """The policy lets carol's and erin's ports vary; carol cannot hear it before her server is in reach again."""
    vary = {"target": [heals.members[name].address for name in ("carol", "erin")], "attr": ["randomize-client-port"]}
    all_may = {"action": "accept", "src": ["*"], "dst": ["*:*"]}
    file = heals.lab.directory / SERVER / "policy.json"
    file.write_text(json.dumps({"acls": [all_may], "nodeAttrs": [vary]}))
    with talking(heals, "carol", "dave") as stream:
        heals.drop("carol", f"ip daddr {heals.control_address}", f"ip saddr {heals.control_address}")
        assert "out udp self:41641 -> *:*" in rules(heals, "erin")
        heals.admin("policy", "set", heals.lab.inside_path("policy.json"))
        until(lambda: "out udp self:* -> *:*" in rules(heals, "erin") or None, LIMIT, "erin to hear of the policy")
        assert "out udp self:41641 -> *:*" in rules(heals, "carol")
        stream.send_and_wait(bytes(MEGABYTE), LIMIT)
        icmp(heals, "carol", "erin")
    heals.lab.unblock(heals.router("carol"))
    until(lambda: "out udp self:* -> *:*" in rules(heals, "carol") or None, LIMIT, "carol to hear of the policy")
    assert str(NODE_PORT) not in rules(heals, "carol", "nftables")


def rules(world: World, host: str, form: str = "plain") -> str:
    return said(world, host, "firewall", "rules", "--format", form)
