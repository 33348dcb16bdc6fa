"""A net check without a daemon, against relays on loopback."""

from __future__ import annotations

import json
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner

from ginnel.cli.commands import ginnel
from ginnel.native import Relay
from ginnel.shell.node.standalone import BindError, standalone
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, encode
from tests.shell.relays import Serve, port


def map_of(*relays: Relay) -> DERPMap:
    regions: dict[int, DERPRegion | None] = {}
    for number, relay in enumerate(relays, 1):
        node = DERPNode(
            f"{number}a", number, "127.0.0.1", ipv4="127.0.0.1", ipv6="none", insecure_for_tests=True,
            derp_port=port(relay), stun_port=port(relay, "stun"),
        )  # fmt: skip
        regions[number] = DERPRegion(number, f"r{number}", f"R{number}", nodes=[node])
    return DERPMap(regions=regions)


async def test_relays_are_found_by_udp_and_the_second_report_is_as_good(serve: Serve) -> None:
    async with standalone(map_of(serve(), serve())) as check:
        first = await check.report()
        again = await check.report(full=False)
    assert first.udp
    assert first.region_latency.keys() == again.region_latency.keys() == {1, 2}
    assert first.preferred_derp == again.preferred_derp
    assert first.global_v4 is not None
    assert first.global_v4.ip == ip_address("127.0.0.1")
    assert first.mapping_varies_by_dest_ip is None  # both answered from one address


async def test_without_stun_https_is_asked(serve: Serve) -> None:
    relay = serve(stun=[])
    node = DERPNode(
        "1a", 1, "127.0.0.1", ipv4="127.0.0.1", insecure_for_tests=True, derp_port=port(relay), stun_port=-1
    )
    async with standalone(DERPMap(regions={1: DERPRegion(1, "r", "R", nodes=[node])})) as check:
        found = await check.report()
    assert (found.udp, found.ipv4, found.preferred_derp, found.icmpv4) == (False, True, 1, False)
    assert found.region_latency.keys() == {1}


async def test_an_address_that_is_not_ours_cannot_be_sent_from() -> None:
    with pytest.raises(BindError, match=r"cannot send from 192\.0\.2\.99, any UDP port: "):
        async with standalone(DERPMap(), address=ip_address("192.0.2.99")):
            pass


def invoke(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(ginnel, ["netcheck", *words])
    return done.exit_code, done.stdout, done.stderr


def test_a_map_in_a_file_is_enough_for_the_command(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(encode(map_of(serve())))
    status, said, complaint = invoke("--derp-map", str(tmp_path / "map.json"), "--format", "json-line", "--verbose")
    found = json.loads(said)
    assert (status, said.count("\n"), found["UDP"], found["PreferredDERP"]) == (0, 1, True, 1)
    assert "netcheck: report: udp=true" in complaint
    assert json.loads(invoke("--derp-map", str(tmp_path / "map.json"), "--json")[1])["UDP"] is True


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--derp-map", "nowhere.json"], "cannot read the DERP map nowhere.json: No such file"),
        (["--derp-map", "x", "--server", "y"], "--derp-map and --server both name the relays"),
        (["--derp-map", "http://127.0.0.1:1/"], "cannot fetch the DERP map from http://127.0.0.1:1/: "),
        (["--every", "soon"], "--every 'soon' is no time: expected for example 10s or 1m30s"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(words: list[str], line: str) -> None:
    status, said, complaint = invoke(*words)
    assert (status, said) == (1, "")
    assert complaint.startswith(line)
    assert complaint.count("\n") == 1


def test_a_socket_that_cannot_be_had_is_told_with_what_to_do(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(encode(map_of(serve())))
    by_map = ("--derp-map", str(tmp_path / "map.json"))
    assert invoke(*by_map, "--bind-address", "192.0.2.99")[2] == (
        "cannot send from 192.0.2.99, any UDP port: no interface of this machine has this address "
        "(`ip address` lists them)\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        complaint = invoke(*by_map, "--bind-address", "127.0.0.1", "--bind-port", str(port))[2]
    assert complaint.startswith(f"cannot send from 127.0.0.1, UDP port {port}: another program has it")


def test_every_0s_is_once(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(encode(map_of(serve())))
    status, said, _ = invoke("--derp-map", str(tmp_path / "map.json"), "--format", "json-line", "--every", "0s")
    assert (status, said.count("\n")) == (0, 1)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"Regions":{}}', '{"Regions":{"1":7}}'])
def test_a_file_that_is_no_map_is_refused(body: str, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(body)
    status, _, complaint = invoke("--derp-map", str(tmp_path / "map.json"))
    assert status == 1
    assert "map" in complaint
    assert complaint.count("\n") == 1
