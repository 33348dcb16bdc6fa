"""`ginnel firewall` as it is typed: plan, allowlist, spec."""

import asyncio
import csv
import importlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ginnel.cli.commands import ginnel
from ginnel.cli.firewall import FIREWALL, firewall
from ginnel.shell.firewall import facts
from ginnel.shell.relaydns import resolve
from ginnel.wire.invite import Invite, encode_invite
from ginnel.wire.tailcfg import DERPMap, encode
from ginnel.words import MachineKey
from tests.core.firewall.maps import derp_map, mesh, node, region
from tests.shell.control.fleet_world import fleet_server

PINNING = "Pinned destinations break the mesh some day"
FOUR = ["login.tailscale.com", "controlplane.tailscale.com", "log.tailscale.com", "log.tailscale.io"]


@pytest.fixture(autouse=True)
def no_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documentation's addresses may be those of the machine that tests run on."""
    monkeypatch.setattr(facts, "own_addresses", frozenset)


@pytest.fixture
def two(tmp_path: Path) -> str:
    return written(tmp_path, mesh(2, "a"))


def written(directory: Path, relays: DERPMap) -> str:
    (directory / "map.json").write_bytes(encode(relays))
    return str(directory / "map.json")


def run(*words: str, **options: Any) -> Result:
    return CliRunner().invoke(ginnel, ["firewall", *words], **options)


def refused(*words: str) -> str:
    """The one line with which a command ends."""
    result = run(*words)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_the_group_lists_the_commands_that_are_there_and_each_can_be_imported() -> None:
    listed = firewall.list_commands(None)  # type: ignore[arg-type]
    assert {"plan", "allowlist", "spec"} <= set(listed) <= set(FIREWALL)
    for name in listed:
        module, attribute = FIREWALL[name][0].split(":")
        assert callable(getattr(importlib.import_module(module), attribute))
    result = run("--help")
    assert result.exit_code == 0
    assert all(f"\n  {name}" in result.stdout for name in listed)


def test_the_plan_is_printed_for_the_terminals_width(two: str) -> None:
    wide, narrow = (run("plan", "--derp-map", two, env={"COLUMNS": width}).stdout for width in ("120", "60"))
    assert "https      out TCP to *:443      " in wide
    assert "\nhttps: out TCP to *:443\n" in narrow
    assert max(map(len, wide.splitlines())) <= 120
    assert max(map(len, narrow.splitlines())) <= 60


def test_the_plan_as_json_is_recommended_unless_pinned_is_asked_for(two: str) -> None:
    plans = [
        json.loads(run("plan", "--json", "--derp-map", two, *more).stdout) for more in ([], ["--profile", "pinned"])
    ]
    assert [plan["profile"] for plan in plans] == ["recommended", "pinned"]
    assert [need["to"] == "any" for need in (plans[0]["needs"][0], plans[1]["needs"][0])] == [True, False]
    assert plans[1]["warnings"][0].startswith(PINNING)


def test_the_tunnels_port_can_be_named(two: str) -> None:
    def sources(port: str) -> list[Any]:
        made = json.loads(run("plan", "--json", "--derp-map", two, "--port", port).stdout)
        return [need["source_port"] for need in made["needs"] if need["id"] == "tunnel"]

    assert sources("5000") == [5000]
    assert sources("0") == ["any"]


def test_the_names_are_the_faqs(tmp_path: Path) -> None:
    relays = DERPMap(
        regions={
            **{n: region(n, node(n, "c", zone="tailscale.com")) for n in range(1, 26)},
            7: None,
        }
    )
    result = run(
        "allowlist", "--format", "fqdn", "--level", "l3", "--profile", "tailscale-saas",
        "--derp-map", written(tmp_path, relays),
    )  # fmt: skip
    assert result.exit_code == 0
    assert result.stdout.split() == FOUR + [f"derp{n}-all.tailscale.com" for n in range(1, 26) if n != 7]
    assert result.stderr.startswith(f"Warning: {PINNING}")


def test_a_firewall_that_looks_into_tls_gets_the_relays_names(two: str) -> None:
    result = run("allowlist", "--format", "fqdn", "--level", "SNI", "--derp-map", two, "--server", "vpn.example.com")
    assert result.stdout.split() == ["vpn.example.com", "derp1a.relays.example.com", "derp2a.relays.example.com"]


def test_a_mesh_of_ones_own_has_its_own_names_and_none_of_the_vendors(two: str) -> None:
    own = ("--profile", "self", "--server", "vpn.example.com", "--derp-map", two)
    assert run("allowlist", "--format", "fqdn", "--level", "l3", *own).stdout.split() == [
        "vpn.example.com", "derp1-all.relays.example.com", "derp2-all.relays.example.com",
    ]  # fmt: skip


def test_the_list_as_json_and_csv(two: str) -> None:
    made = json.loads(run("allowlist", "--json", "--derp-map", two).stdout)
    assert made["warning"].startswith(PINNING)
    rows = list(csv.DictReader(run("allowlist", "--format", "csv", "--derp-map", two).stdout.splitlines()))
    assert [row["name"] for row in rows] == [entry["name"] for entry in made["entries"]]
    assert rows[1]["ipv4"] == "192.0.2.1"


def test_addresses_without_a_name_are_told_beside_a_list_of_names(tmp_path: Path) -> None:
    file = written(tmp_path, derp_map(region(1, node(1, host_name="192.0.2.9"))))
    result = run("allowlist", "--format", "fqdn", "--derp-map", file, "--server", "vpn.example.com")
    assert result.stdout == "vpn.example.com\n"
    assert "1 addresses have no name: 192.0.2.9" in result.stderr


def test_resolve_asks_for_both_families_and_a_failure_is_said_on_its_line_and_in_the_status(
    two: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def system(host: str, family: socket.AddressFamily) -> list[str]:
        if host == "derp2a.relays.example.com":
            raise socket.gaierror(socket.EAI_AGAIN, "for this test")
        return ["203.0.113.7"] if family == socket.AF_INET else ["2001:db8:7::7"]

    monkeypatch.setattr(resolve, "_system", system)
    good = run("allowlist", "--resolve", "--level", "l3", "--derp-map", two)
    assert good.exit_code == 0
    assert [line for line in good.stdout.splitlines() if line.startswith("    ")] == [
        "    192.0.2.1", "    203.0.113.7", "    2001:db8::1:61", "    2001:db8:7::7",
        "    192.0.2.2", "    203.0.113.7", "    2001:db8::2:61", "    2001:db8:7::7",
    ]  # fmt: skip
    bad = run("allowlist", "--resolve", "--json", "--level", "sni", "--derp-map", two)
    assert bad.exit_code == 1
    entries = json.loads(bad.stdout)["entries"]
    assert [entry["error"] for entry in entries] == [
        None,
        "the lookup of A and AAAA records failed: does DNS work here?",
    ]
    assert entries[1]["ipv4"] == ["192.0.2.2"]
    assert bad.stderr.endswith("1 of 2 entries are not whole: see their errors, and do not apply this list as it is\n")


def test_the_spec_has_everything(two: str) -> None:
    made = json.loads(run("spec", "--derp-map", two).stdout)
    assert (made["schema"], list(made["plans"]), len(made["hosts"])) == (1, ["recommended", "pinned"], 4)


def test_what_a_map_says_reaches_no_terminal_as_it_is(tmp_path: Path) -> None:
    evil = region(1, node(1), node(1, "b", host_name="\x1b[2Jx\nallow any"), code="\x1b]0;x\x07")
    file = written(tmp_path, derp_map(evil))
    for words in (
        ("plan",),
        ("allowlist",),
        ("plan", "--profile", "pinned"),
        ("spec",),
        ("allowlist", "--format", "csv"),
    ):
        result = run(*words, "--derp-map", file)
        assert result.exit_code == 0
        assert "\x1b" not in result.output
        assert "\nallow any" not in result.output


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--profile", "pinned", "--profile", "recommended"), "exclude each other"),
        (("--profile", "self", "--profile", "tailscale-saas"), "exclude each other"),
        (("--profile", "tailscale-saas", "--server", "https://vpn.example.com"), "has its own server"),
        (("--allow-address", "10.0.0.1/8"), "expected a network such as 10.1.0.0/16"),
        (("--derp-map", "/nonexistent/map"), "cannot read the DERP map /nonexistent/map: No such file or directory"),
        (("--derp-map", "/nonexistent", "--pin", "x"), "is no pin"),
        (("--derp-map", "/nonexistent", "--pin", "sha256-raw:" + "0" * 64), "--pin is about the certificate"),
        (("--server", "ftp://x"), "is no address of a server"),
        (("--server", "ginnel-invite1:x"), "this invite cannot be used"),
        (("--socket", "/nonexistent/socket"), "or name a mesh with --server URL or --derp-map FILE"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "allowlist", "spec"])
def test_a_mistake_is_answered_in_one_line(command: str, words: tuple[str, ...], line: str) -> None:
    assert line in refused(command, *words)


def test_two_forms_at_once_are_refused(two: str) -> None:
    line = "--json is the format json, and --format says csv: give one of them"
    assert line in refused("allowlist", "--json", "--format", "csv", "--derp-map", two)
    assert json.loads(run("allowlist", "--json", "--format", "json", "--derp-map", two).stdout)


def test_a_list_of_names_cannot_hold_what_dns_finds(two: str) -> None:
    assert "--format fqdn lists names alone" in refused("allowlist", "--resolve", "--format", "fqdn", "--derp-map", two)


async def test_a_server_is_asked_by_its_url_or_its_invite(tmp_path: Path) -> None:
    async with fleet_server(
        tmp_path, regions={"910": {"code": "far", "name": "Far", "nodes": [{"host": "r.example.com"}]}}
    ) as server:
        url = f"http://127.0.0.1:{server.plain_ports()[0]}"
        invite = encode_invite(Invite(url, MachineKey(bytes(range(32))), "secret-of-the-invite"))
        for place in (url, invite):
            result = await asyncio.to_thread(run, "spec", "--server", place)
            assert result.exit_code == 0, result.output
            assert json.loads(result.stdout)["source"] == url
            assert "r.example.com" in result.stdout
            assert "secret" not in result.output
