"""`firewall open` and `close` with the real programs, in a namespace of their own."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ginnel.lab.processes import until
from ginnel.shell.firewall.opening import OpenError, Wish, close_port, open_port
from ginnel.shell.node.state import StateFile
from tests.shell.firewall.hosts import Host, host, program

pytestmark = pytest.mark.root

ACCEPT = "udp dport 41641 accept"
DEFAULT_DENY = """
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iif lo accept
        ip saddr 192.0.2.0/24 drop
        jump services
    }
    chain services {
        tcp dport 22 accept
        reject
    }
}
table ip other {
    chain second { type filter hook input priority 10; policy drop; tcp dport 22 accept; }
}
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


def load(here: Host, rules: str, directory: Path) -> str:
    """What nft lists of it, handles too."""
    file = directory / "rules.nft"
    file.write_text(rules.replace("; }", "\n}").replace("; tcp", "\ntcp"))
    here.run("nft", "-f", str(file))
    return here.run("nft", "list", "ruleset")


def test_close_leaves_nft_as_open_has_found_it(here: Host, tmp_path: Path) -> None:
    before = load(here, DEFAULT_DENY, tmp_path)
    here.open()
    assert here.run("nft", "list", "ruleset").count(ACCEPT) == 2, "both tables must let it pass"
    here.close()
    assert here.run("nft", "list", "ruleset") == before


def test_the_accept_stands_right_before_what_stops_the_packets(here: Host, tmp_path: Path) -> None:
    load(here, DEFAULT_DENY, tmp_path)
    here.open()
    services = here.run("nft", "list", "chain", "inet", "filter", "services")
    assert services.index("dport 22") < services.index(ACCEPT) < services.index("reject")
    lines = here.ginnel("firewall", "open", "--dry-run", "--state", str(here.state))
    assert "open already" in lines


def test_a_second_open_changes_nothing_and_a_second_close_neither(here: Host, tmp_path: Path) -> None:
    load(here, DEFAULT_DENY, tmp_path)
    here.open()
    opened = here.run("nft", "-a", "list", "ruleset")
    assert "already" in here.open()
    assert here.run("nft", "-a", "list", "ruleset") == opened
    here.close()
    assert "nothing to take back" in here.close()


def test_a_rule_that_was_there_before_is_left_by_close(here: Host, tmp_path: Path) -> None:
    before = load(here, DEFAULT_DENY.replace("tcp dport 22 accept", ACCEPT), tmp_path)
    assert "already" in here.open()
    here.close()
    assert here.run("nft", "list", "ruleset") == before


@pytest.mark.parametrize("kind", ["nftables", "iptables"])
def test_a_rule_of_ours_that_something_came_to_stand_before_is_put_before_that(
    here: Host, kind: str, tmp_path: Path
) -> None:
    if kind == "nftables":
        before = load(here, DEFAULT_DENY, tmp_path)
        here.open()
        here.run("nft", "insert", "rule", "inet", "filter", "input", "meta", "l4proto", "udp", "drop")
    else:
        iptables_that_drop(here)
        here.open()
        here.run("iptables", "-I", "INPUT", "-p", "udp", "-j", "DROP")
    assert "open already" not in here.open()
    assert "open already" in here.open()
    here.close()
    if kind == "nftables":
        here.run("nft", "delete", "rule", "inet", "filter", "input", "handle", handle_of_the_drop(here))
        assert here.run("nft", "list", "ruleset") == before
    else:
        assert "41641" not in here.run("iptables", "-S")


def handle_of_the_drop(here: Host) -> str:
    listed = here.run("nft", "-a", "list", "chain", "inet", "filter", "input").splitlines()
    return next(line for line in listed if "meta l4proto udp drop" in line).split()[-1]


def test_what_a_rule_s_text_holds_does_not_reach_the_terminal_raw(here: Host) -> None:
    here.run("iptables", "-P", "INPUT", "DROP")
    here.run("iptables", "-A", "INPUT", "-p", "udp", "-j", "DROP", "-m", "comment", "--comment", "x\x1b]0;y\a")
    for said in (here.open("--dry-run"), here.open()):
        assert "\x1b" not in said


def test_lint_without_a_file_judges_this_host(here: Host, tmp_path: Path) -> None:
    load(here, DEFAULT_DENY, tmp_path)
    assert "blocked  tunnel-in, IPv4" in here.ginnel("firewall", "lint", fails=True)


def test_close_without_open_says_so(here: Host) -> None:
    assert here.close() == "nothing to take back\n"


def test_a_reloaded_firewall_is_opened_again(here: Host, tmp_path: Path) -> None:
    load(here, DEFAULT_DENY, tmp_path)
    here.open()
    here.run("nft", "flush", "ruleset")
    before = load(here, DEFAULT_DENY, tmp_path)
    here.open()
    assert here.run("nft", "list", "ruleset").count(ACCEPT) == 2
    here.close()
    assert here.run("nft", "list", "ruleset") == before


def test_the_daemon_holds_the_same_directory_meanwhile(here: Host, tmp_path: Path) -> None:
    """Both have it by default."""
    before = load(here, DEFAULT_DENY, tmp_path)
    held = StateFile(here.state)
    held.open()
    try:
        here.open()
        here.close()
        assert here.run("nft", "list", "ruleset") == before
    finally:
        held.close()


def test_the_record_is_for_root_alone(here: Host, tmp_path: Path) -> None:
    load(here, DEFAULT_DENY, tmp_path)
    here.open()
    (record,) = here.records()
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(here.state.stat().st_mode) == 0o700
    assert json.loads(record.read_text())["port"] == 41641


def test_a_damaged_record_is_refused_and_nothing_is_run(here: Host, tmp_path: Path) -> None:
    before = load(here, DEFAULT_DENY, tmp_path)
    here.state.mkdir()
    (here.state / "firewall-open-41641.json").write_text('{"port": 41641, "changes": [{"type": "shell"}]}')
    assert "damaged" in here.close(fails=True)
    assert here.run("nft", "list", "ruleset") == before


def test_a_host_without_rules_is_open_already(here: Host) -> None:
    assert "already" in here.open()
    assert not here.state.exists()


def test_rules_that_are_not_understood_are_not_touched(here: Host, tmp_path: Path) -> None:
    load(here, DEFAULT_DENY.replace("tcp dport 22 accept", "meta random & 1 == 0 accept"), tmp_path)
    before = here.run("nft", "list", "ruleset")
    assert "not clear" in here.open(fails=True)
    assert here.run("nft", "list", "ruleset") == before


@pytest.mark.parametrize("kind", ["iptables", "iptables-legacy"])
def test_close_leaves_iptables_as_open_has_found_it(here: Host, kind: str) -> None:
    programs = (kind, kind.replace("ip", "ip6", 1))
    for name in programs:
        here.run(name, "-P", "INPUT", "DROP")
        here.run(name, "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT")
        here.run(name, "-A", "INPUT", "-j", "REJECT")
    before = [here.run(name, "-S") for name in programs]
    here.open()
    for name in programs:
        rules = here.run(name, "-S", "INPUT").splitlines()
        assert [n for n, rule in enumerate(rules) if "41641" in rule] == [2], rules
    here.close()
    assert [here.run(name, "-S") for name in programs] == before


def test_half_a_change_is_taken_back(here: Host, tmp_path: Path) -> None:
    before = iptables_that_drop(here)
    said = here.run(
        "env", wrapper(tmp_path, "echo no room >&2; exit 4"), *program(), *OPEN, str(here.state), fails=True
    )
    assert "no room; nothing was changed" in said
    assert [here.run(name, "-S") for name in IPTABLES] == before
    assert not here.records()


def test_a_command_that_is_killed_between_two_changes_leaves_nothing(here: Host, tmp_path: Path) -> None:
    before = iptables_that_drop(here)
    opening = here.start("env", wrapper(tmp_path, "kill -9 $PPID; exit 4"), *program(), *OPEN, str(here.state))
    opening.communicate(timeout=60)
    assert opening.returncode == -9
    until(lambda: not here.records() or None, 20, "the guard to take the first change back")
    assert [here.run(name, "-S") for name in IPTABLES] == before


IPTABLES = ("iptables", "ip6tables")
OPEN = ("firewall", "open", "--socket", "/nowhere", "--state")


def iptables_that_drop(here: Host) -> list[str]:
    for name in IPTABLES:
        here.run(name, "-P", "INPUT", "DROP")
    return [here.run(name, "-S") for name in IPTABLES]


def wrapper(directory: Path, instead: str) -> str:
    """PATH=... with an ip6tables that does this instead of inserting a rule; iptables has made its change by then."""
    made = directory / "bin"
    made.mkdir()
    script = made / "ip6tables"
    script.write_text(f'#!/bin/sh\ncase "$*" in *" -I "*) {instead};; esac\nexec {shutil.which("ip6tables")} "$@"\n')
    script.chmod(0o755)
    return f"PATH={made}:{os.environ['PATH']}:/usr/sbin"


def test_only_root_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(OpenError, match="sudo"):
        open_port(Wish(41641, None, tmp_path / "state", "", ""))
    with pytest.raises(OpenError, match="sudo"):
        close_port(tmp_path / "state", 41641)
    assert not (tmp_path / "state").exists()


def test_ufw_gets_the_documented_command_and_gives_the_rule_back(here: Host) -> None:
    here.with_ufw()
    here.run("ufw", "--force", "enable")
    before = here.run("ufw", "status", "verbose")
    assert here.open("--backend", "ufw", "--dry-run") == "sudo ufw allow 41641/udp\n"
    assert "ufw allow 41641/udp" in here.open()
    assert "41641/udp" in here.run("ufw", "status")
    assert "already" in here.open("--backend", "ufw")
    here.close()
    assert here.run("ufw", "status", "verbose") == before


def test_a_rule_of_the_administrator_stays_in_ufw(here: Host) -> None:
    here.with_ufw()
    here.run("ufw", "--force", "enable")
    here.run("ufw", "allow", "41641/udp")
    assert "already" in here.open("--backend", "ufw")
    here.close()
    assert "41641/udp" in here.run("ufw", "status")


REFUSED = (
    ["deny", "41641/udp"],
    ["deny", "41641/udp", "comment", "no vpn here"],
    ["deny", "log", "41641/udp"],
    ["reject", "in", "proto", "udp", "from", "any", "to", "any", "port", "41641"],
    ["limit", "41641"],
)


@pytest.mark.parametrize("refusal", REFUSED, ids=" ".join)
def test_a_port_that_ufw_refuses_on_purpose_is_left_so(here: Host, refusal: list[str]) -> None:
    """ufw would put our rule in the place of that one, and `close` could not bring it back."""
    here.with_ufw()
    here.run("ufw", *refusal)
    here.run("ufw", "--force", "enable")
    before = here.run("ufw", "show", "added")
    for backend in ([], ["--backend", "ufw"]):
        said = here.open(*backend, fails=True)
        assert ("take back `ufw" in said) or refusal[0] == "limit"
    assert here.run("ufw", "show", "added") == before


def test_an_administrator_s_rule_with_a_comment_is_known_as_one_and_stays(here: Host) -> None:
    here.with_ufw()
    here.run("ufw", "allow", "41641/udp", "comment", "mine")
    here.run("ufw", "--force", "enable")
    before = here.run("ufw", "show", "added")
    for backend in ([], ["--backend", "ufw"]):
        assert "open already" in here.open(*backend)
    here.close()
    assert here.run("ufw", "show", "added") == before


def test_a_broader_refusal_in_ufw_that_stands_above_is_said(here: Host) -> None:
    here.with_ufw()
    here.run("ufw", "deny", "proto", "udp", "from", "any")
    here.run("ufw", "--force", "enable")
    said = here.open(fails=True).splitlines()
    assert said[0].startswith(
        "STILL blocked by iptables filter, chain ufw-user-input: -A ufw-user-input -p udp -j DROP"
    )
    assert "open already" not in here.open(fails=True)
    here.close()


def test_a_firewall_that_is_named_but_does_not_decide_is_said(here: Host, tmp_path: Path) -> None:
    load(here, DEFAULT_DENY, tmp_path)
    assert "is not what stops the port but nftables" in here.open("--backend", "iptables", fails=True)


def test_ufw_that_is_off_is_said_to_be(here: Host) -> None:
    here.with_ufw()
    assert "not active" in here.open("--backend", "ufw")
    assert "ufw allow 41641/udp" in here.run("ufw", "show", "added")
    here.close()
    assert "41641" not in here.run("ufw", "show", "added")


def test_where_ufw_and_another_table_both_refuse_both_are_opened(here: Host, tmp_path: Path) -> None:
    here.with_ufw()
    here.run("ufw", "--force", "enable")
    mine = "chain c { type filter hook input priority 5; policy drop; tcp dport 1 accept; }"
    load(here, f"table inet mine {{\n{mine}\n}}\n", tmp_path)
    lines = here.open("--dry-run")
    assert "sudo ufw allow 41641/udp" in lines
    assert "inet mine c" in lines


def test_what_an_earlier_open_let_in_stays_when_another_firewall_is_opened(here: Host, tmp_path: Path) -> None:
    here.with_ufw()
    here.run("ufw", "--force", "enable")
    before = here.run("ufw", "status", "verbose")
    here.open()
    mine = "chain c { type filter hook input priority 5; policy drop; tcp dport 1 accept; }"
    load(here, f"table inet mine {{\n{mine}\n}}\n", tmp_path)
    assert "STILL blocked" not in here.open()
    assert "41641/udp" in here.run("ufw", "status")
    assert len(here.close().splitlines()) == 2
    assert here.run("ufw", "status", "verbose") == before
    assert ACCEPT not in here.run("nft", "list", "table", "inet", "mine")


def test_nobody_is_promised_a_watch_where_there_is_no_daemon(here: Host, tmp_path: Path) -> None:
    load(here, DEFAULT_DENY, tmp_path)
    said = here.open()
    assert "ginneld does not run here: nothing watches" in said
    assert f"undo: sudo ginnel firewall close --port 41641 --state {here.state}" in said
