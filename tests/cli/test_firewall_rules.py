"""`ginnel firewall rules` as it is typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ginnel.cli.commands import ginnel
from ginnel.core.firewall.formats.table import FORMATS
from ginnel.shell.firewall import facts
from ginnel.shell.relaydns import resolve
from ginnel.wire.tailcfg import encode
from tests.core.firewall.maps import mesh

SERVER = ("--server", "https://vpn.example.com")


@pytest.fixture(autouse=True)
def no_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documentation's addresses may be those of the machine that tests run on."""
    monkeypatch.setattr(facts, "own_addresses", frozenset)


@pytest.fixture
def relays(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "map.json").write_bytes(encode(mesh(2)))
    return ("--derp-map", str(tmp_path / "map.json"), *SERVER)


def run(*words: str, **options: Any) -> Result:
    return CliRunner().invoke(ginnel, ["firewall", "rules", *words], **options)


def refused(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def answering(monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    def system(host: str, family: socket.AddressFamily) -> list[str]:
        if family == socket.AF_INET and host.partition(".")[0] in names:
            return [names[host.partition(".")[0]]]
        raise socket.gaierror(socket.EAI_NONAME, "no such record")

    monkeypatch.setattr(resolve, "_system", system)


def test_every_format_is_listed_with_its_level() -> None:
    lines = run("--list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[form.name, form.level] for form in FORMATS.values()]
    listed = json.loads(run("--list", "--json").stdout)
    assert [row["name"] for row in listed] == list(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_printed_from_a_map(
    name: str, relays: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, vpn="203.0.113.7", derp1a="203.0.113.8", derp1b="203.0.113.9")
    for profile in ("recommended", "pinned"):
        result = run("--format", name, "--profile", profile, "--resolve", *relays)
        if name.startswith("paloalto") and profile == "recommended":
            assert "give --profile pinned" in result.stderr
        else:
            assert result.exit_code == 0, result.stderr
            assert result.stdout


def test_the_recommended_profile_allows_443_to_anywhere_and_pinned_warns_with_a_date(
    relays: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, vpn="203.0.113.7")
    plain = run("--format", "nftables", *relays).stdout
    assert "\ttcp dport 443 accept" in plain
    assert "warning" not in plain
    pinned = run("--format", "nftables", "--profile", "pinned", "--resolve", *relays).stdout
    assert "\ttcp dport 443 accept" not in pinned
    assert "# warning: Pinned destinations break the mesh some day" in pinned
    assert "# refresh by: 20" in pinned
    assert "203.0.113.7" in pinned


def test_formats_without_room_for_a_comment_say_the_warning_on_stderr(relays: tuple[str, ...]) -> None:
    result = run("--format", "paloalto-edl-domain", "--profile", "pinned", *relays)
    assert "Pinned destinations break" not in result.stdout
    assert "warning: Pinned destinations break" in result.stderr


def test_a_pinned_name_without_addresses_is_refused_where_only_addresses_do(relays: tuple[str, ...]) -> None:
    told = refused("--format", "iptables", "--profile", "pinned", *relays)
    assert "vpn.example.com" in told
    assert "--resolve" in told


def test_a_lookup_that_fails_writes_no_rules_without_that_name(
    relays: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch)
    told = refused("--format", "iptables", "--profile", "pinned", "--resolve", *relays)
    assert "vpn.example.com" in told
    answering(monkeypatch, vpn="203.0.113.7")
    result = run("--format", "iptables", "--profile", "pinned", "--resolve", *relays)
    assert result.exit_code == 0
    assert "the addresses of the map are taken" in result.stderr


def test_the_tunnels_port_is_followed(relays: tuple[str, ...]) -> None:
    text = run("--format", "iptables", "--port", "5000", *relays).stdout
    assert "--sport 5000" in text
    assert "41641" not in text
    assert "--sport" not in run("--format", "iptables", "--port", "0", *relays).stdout


def test_inbound_is_the_documented_command(relays: tuple[str, ...]) -> None:
    lines = run("--format", "ufw", "--inbound", *relays).stdout.splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["ufw allow 41641/udp"]


def test_a_rule_can_be_left_out_and_a_wrong_name_is_said(relays: tuple[str, ...]) -> None:
    text = run(
        "--format", "iptables", "--without", "stun", "--without", "tunnel-in", "--without", "portal", *relays
    ).stdout
    assert "--dport 3478" not in text
    assert "--dport 41641" not in text
    assert "--dport 443" in text
    assert "there is no such rule, only https" in refused("--format", "ufw", "--without", "ssh", *relays)


def test_a_file_is_written_whole_and_an_old_one_stays_when_that_fails(relays: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "rules.cmd"
    result = run("--format", "netsh", "--output", str(file), *relays)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert file.read_bytes().startswith(b"@echo off\r\nrem ginnel")
    assert stat.S_ISREG(file.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir() if "new" in path.name] == []
    assert "could not be written" in refused("--format", "netsh", "--output", str(tmp_path / "no" / "x"), *relays)
    refused("--format", "cisco-ios", "--port", "0", "--output", str(file), *relays)
    assert file.read_bytes().startswith(b"@echo off\r\n")


def test_a_format_that_is_not_there_is_said_with_those_that_are(relays: tuple[str, ...]) -> None:
    assert "there is no format xyz: give one of nftables, " in refused("--format", "xyz", *relays)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("fortigate-fqdn", "fortigate"),
        ("paloalto-edl", "paloalto-edl-ip or paloalto-edl-domain or paloalto-edl-url"),
        ("mikrotik-address-list", "mikrotik"),
        ("cisco-fqdn", "cisco-asa or cisco-ios"),
        ("aws-sg", "aws-json or aws-terraform"),
        ("UFW", "ufw"),
        ("nftable", "nftables"),
    ],
)
def test_a_format_that_is_nearly_named_is_told(written: str, meant: str, relays: tuple[str, ...]) -> None:
    assert f"did you mean {meant}? --list has all" in refused("--format", written, *relays)


@pytest.mark.parametrize("profile", ["recommended", "pinned"])
def test_without_a_format_it_is_a_list_to_read(profile: str, relays: tuple[str, ...]) -> None:
    assert run("--profile", profile, *relays).stdout == run("--format", "plain", "--profile", profile, *relays).stdout


def test_json_and_another_format_exclude_each_other(relays: tuple[str, ...]) -> None:
    assert "give one of them" in refused("--json", "--format", "ufw", *relays)


def test_json_alone_is_the_format(relays: tuple[str, ...]) -> None:
    document = json.loads(run("--json", *relays).stdout)
    assert document["profile"] == "recommended"
    assert [rule["id"] for rule in document["rules"]] == ["https", "tunnel", "stun", "tunnel-in"]


def test_a_rule_that_is_not_optional_is_missed_in_the_file_and_on_stderr(relays: tuple[str, ...]) -> None:
    result = run("--format", "nftables", "--without", "https", *relays)
    assert "tcp dport 443" not in result.stdout
    assert "# warning: https is left out, which is not optional. No machine logs in" in result.stdout
    assert "Warning: https is left out, which is not optional." in result.stderr


def test_a_rule_that_is_optional_goes_without_a_word(relays: tuple[str, ...]) -> None:
    result = run("--format", "nftables", "--without", "tunnel-in", *relays)
    assert "left out" not in result.stdout + result.stderr


def kept_by(text: str) -> list[list[str]]:
    """The commands in the comments, as a shell reads them."""
    return [shlex.split(found) for found in re.findall(r": (ginnel firewall sync .*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("name", ["nftables", "firewalld"])
def test_the_command_that_keeps_a_set_is_one_that_works(
    name: str, tmp_path: Path, relays: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another directory too, and for the mesh that the rules were made for."""
    answering(monkeypatch, vpn="203.0.113.7")
    relative = [os.path.relpath(word) if word.endswith("map.json") else word for word in relays]
    text = run("--format", name, "--profile", "pinned", "--resolve", *relative, "--allow-address", "10.9.0.0/16").stdout
    commands = kept_by(text)
    assert len(commands) >= 2
    for words in commands:
        place = Path(words[words.index("--derp-map") + 1])
        assert place.is_absolute()
        assert place.samefile(tmp_path / "map.json")
        assert words[words.index("--server") + 1] == "https://vpn.example.com"
        assert words[words.index("--allow-address") + 1] == "10.9.0.0/16"
        tried = [word for word in words[1:] if word != "--watch"]
        state = ["--state", str(tmp_path / "state"), "--dns", "127.0.0.1:1", "--dry-run", "--json"]
        done = CliRunner().invoke(ginnel, [*tried, *state])
        assert "set-failed" in done.stdout, "it came as far as looking for a set that is not here"
        found = json.loads(done.stdout)
        assert found["failed"] == ["set-failed"]
        assert "https://vpn.example.com" in found["source"]


def test_a_command_that_a_comment_cannot_hold_is_not_written_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, vpn="203.0.113.7")
    place = tmp_path / "a $(b) & c.json"
    place.write_bytes(encode(mesh(2)))
    text = run("--format", "nftables", "--profile", "pinned", "--resolve", "--derp-map", str(place), *SERVER).stdout
    assert "firewall sync" in text
    assert "--derp-map" not in "".join(" ".join(words) for words in kept_by(text))
    assert "with the options that name the mesh here" in text
