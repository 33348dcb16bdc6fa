"""What the programs of firewalls print, and what `--set` may say."""

import asyncio
import json
import os
import stat
from ipaddress import ip_address
from pathlib import Path

import pytest

from ginnel.shell.firewall.sets import SetError
from ginnel.shell.firewall.sets.command import CommandSet
from ginnel.shell.firewall.sets.firewalld import plain
from ginnel.shell.firewall.sets.ipset import IpSet, entries_of
from ginnel.shell.firewall.sets.kinds import KINDS
from ginnel.shell.firewall.sets.nftables import NftSet, elements_of
from ginnel.shell.firewall.sets.program import run
from ginnel.shell.firewall.sets.ufw import UfwRules, rule_in

ADDRESS = ip_address("203.0.113.5")


def nft_set(**more: object) -> str:
    return json.dumps({"nftables": [{"metainfo": {}}, {"set": {"name": "ginnel4", "type": "ipv4_addr", **more}}]})


def test_elements_of_nftables_in_all_their_forms() -> None:
    elements = [
        "203.0.113.1",
        {"elem": {"val": "203.0.113.2", "comment": "x"}},
        {"prefix": {"addr": "203.0.113.4", "len": 31}},
        {"range": ["203.0.113.8", "203.0.113.10"]},
    ]
    found = elements_of(nft_set(elem=elements), 4, "ginnel4")
    assert sorted(int(str(ip).rpartition(".")[2]) for ip in found) == [1, 2, 4, 5, 8, 9, 10]


def test_an_empty_set_of_nftables_is_empty() -> None:
    assert elements_of(nft_set(), 4, "ginnel4") == frozenset()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nft_set(type="ipv6_addr"), "expected ipv4_addr"),
        (nft_set(flags=["timeout"], timeout=60), "forgets"),
        (nft_set(elem=[{"prefix": {"addr": "10.0.0.0", "len": 8}}]), "a set of its own"),
        (nft_set(elem=["not an address"]), "no address"),
        (nft_set(elem=[7]), "no address"),
        ("{}", "no set"),
        ("", "no set"),
        ("[]", "no set"),
    ],
)
def test_a_set_of_nftables_that_is_of_no_use_is_refused(text: str, says: str) -> None:
    with pytest.raises(SetError, match=says):
        elements_of(text, 4, "ginnel4")


def test_entries_of_ipset() -> None:
    text = "create ginnel4 hash:ip family inet hashsize 1024 maxelem 65536 bucketsize 12\nadd ginnel4 203.0.113.5\n"
    assert entries_of(text, 4, "ginnel4") == {ADDRESS}


@pytest.mark.parametrize(
    "head",
    ["", "create ginnel4 hash:net family inet", "create ginnel4 hash:ip family inet6", "create g hash:ip family inet",
     "create ginnel4 hash:ip family inet timeout 60"],
)  # fmt: skip
def test_a_set_of_ipset_that_is_of_no_use_is_refused(head: str) -> None:
    with pytest.raises(SetError):
        entries_of(f"{head}\nadd ginnel4 203.0.113.5\n", 4, "ginnel4")


def test_only_our_own_rules_of_ufw_count() -> None:
    ours = "ufw allow out to 203.0.113.5 port 443 proto tcp comment 'ginnel sync'"
    assert rule_in(ours, "ginnel sync") == (ADDRESS, ("443", "tcp"))
    for other in (
        ours.replace("ginnel sync", "mine"),
        ours.replace("allow out", "deny out"),
        "ufw allow out to 203.0.113.5 port 443 proto tcp",
        "ufw allow 22/tcp",
        "ufw allow out to 203.0.113.5 from 10.0.0.1 port 443 proto tcp comment 'ginnel sync'",
        "ufw allow out to 'unclosed",
    ):
        assert rule_in(other, "ginnel sync") is None


def test_an_address_is_held_by_ufw_when_all_its_rules_are_there() -> None:
    rules = UfwRules.parse("443/tcp,3478/udp")
    found = rules._rules("ufw allow out to 203.0.113.5 port 443 proto tcp comment 'ginnel sync'\n(None)\n")
    assert found == {ADDRESS: {("443", "tcp")}}
    assert not found[ADDRESS] >= set(rules.ports)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("nftables", "ginnel4"), ("nftables", "inet/filter/"), ("nftables", "inet/filter/a,b,c"),
        ("nftables", "inet/fil ter/a"), ("nftables", "inet/filter/a;flush ruleset"), ("nftables", "x/filter/a"),
        ("nftables", "inet/filter/same,same"), ("nftables", "inet/filter/-a"),
        ("ipset", ""), ("ipset", "-exist"), ("ipset", "a\nflush"), ("ipset", "a" * 32), ("ipset", "a,a"),
        ("firewalld", "--reload"), ("firewalld", "a b"), ("ufw", "443"), ("ufw", "99999/tcp"), ("ufw", "any/tcp"),
        ("command", "/bin/true"), ("command", '"x"'), ("command", "[]"), ("command", '["true"]'),
        ("command", '["/bin/true", 7]'), ("command", '["/bin/\\u0000"]'),
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_before_anything_is_started(kind: str, name: str) -> None:
    with pytest.raises(SetError):
        KINDS[kind](name)


def test_one_family_is_enough() -> None:
    assert NftSet.parse("inet/filter/ginnel4").families == (4,)
    assert NftSet.parse("inet/filter/,ginnel6").families == (6,)
    assert IpSet.parse("a4,a6").names == {4: "a4", 6: "a6"}


SCRIPT = """#!/usr/bin/env python3
import json, sys, pathlib
order, place = json.load(sys.stdin), pathlib.Path(sys.argv[1])
held = set(json.loads(place.read_text())) if place.exists() else set()
if order["op"] == "change":
    held = (held | set(order["add"])) - set(order["remove"])
    place.write_text(json.dumps(sorted(held)))
elif order["op"] == "read":
    print(json.dumps({"addresses": sorted(held)}))
"""


async def test_a_command_of_ones_own_keeps_a_set(tmp_path: Path) -> None:
    script, place = tmp_path / "keep", tmp_path / "held; touch $(x)"
    script.write_text(SCRIPT)
    script.chmod(0o700)
    kept = CommandSet.parse(json.dumps([str(script), str(place)]))
    await kept.prepare()
    assert await kept.read() == frozenset()
    await kept.change([ADDRESS, ip_address("2001:db8::1")], [])
    await kept.change([], [ADDRESS])
    assert await kept.read() == {ip_address("2001:db8::1")}
    assert sorted(os.listdir(tmp_path)) == [place.name, "keep"]  # noqa: PTH208


@pytest.mark.parametrize(
    "printed", ["", "[]", '{"addresses": "203.0.113.5"}', '{"addresses": [7]}', '{"addresses": ["x"]}']
)
async def test_a_command_that_answers_nonsense_is_an_error_and_never_an_empty_set(tmp_path: Path, printed: str) -> None:
    script = tmp_path / "bad"
    script.write_text(f"#!/bin/sh\ncat >/dev/null\nprintf '%s' '{printed}'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(SetError, match="expected"):
        await CommandSet((str(script),)).read()


async def test_a_program_that_fails_is_told_in_one_line() -> None:
    with pytest.raises(SetError, match="no such thing") as caught:
        await run(["/bin/sh", "-c", "echo; echo no such thing >&2; echo more >&2; exit 3"])
    assert "\n" not in str(caught.value)


async def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(SetError, match="has not answered"):
        await run(["/bin/sleep", "1000"], patience=0.05)


async def test_a_program_that_writes_without_end_is_ended() -> None:
    with pytest.raises(SetError, match="more than"):
        await run(["/usr/bin/yes"])


async def test_a_program_that_does_not_read_its_input_is_judged_by_its_exit_status() -> None:
    assert await run(["/bin/true"], "x" * (1 << 20)) == ""


async def test_a_program_that_is_missing_is_told() -> None:
    with pytest.raises(SetError, match="not installed"):
        await run(["ginnel-no-such-program"])


async def test_a_program_ends_with_whoever_waits_for_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    waiting = asyncio.create_task(run(["/bin/sh", "-c", f"echo $$ >{pid}; exec sleep 1000"], last_words=0.05))
    number = int(await asyncio.to_thread(pid.read_text))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


async def test_a_change_that_has_begun_is_finished_though_nobody_waits_any_longer(tmp_path: Path) -> None:
    """ufw writes its file before it loads the rule: ended between the two, it shows a rule that is not in force."""
    begun, go_on, done = tmp_path / "begun", tmp_path / "go on", tmp_path / "done"
    os.mkfifo(begun)
    os.mkfifo(go_on)
    script = f"echo $$ >'{begun}'; read x <'{go_on}'; echo >'{done}'"
    waiting = asyncio.create_task(run(["/bin/sh", "-c", script]))
    number = int(await asyncio.to_thread(begun.read_text))
    assert os.getsid(number) == number, "Ctrl-C in a terminal is for us, not for it"
    waiting.cancel()
    for _ in range(20):
        await asyncio.sleep(0)  # the cancellation arrives
    way = os.open(go_on, os.O_RDWR)
    os.write(way, b"on\n")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    os.close(way)
    assert done.exists()


def test_what_firewalld_has_for_now_alone_is_seen_line_by_line() -> None:
    now = "public (active)\n  interfaces: eth0\n  ports: 22/tcp 9999/tcp\n\nwork\n  ports: \n"
    later = "public\n  interfaces: \n  ports: 22/tcp\n\nwork\n  ports: \n"
    assert [line for line in plain(now) if line not in plain(later)] == ["public ports: 22/tcp 9999/tcp"]
    direct = "ipv4 filter INPUT 0 -p tcp --dport 9998 -j DROP\n"
    assert plain(direct) == [direct.strip()]
