import json
from dataclasses import replace
from pathlib import Path

from ginnel.core.firewall.evidence import Ending, Evidence, Step
from ginnel.core.firewall.joined import joined
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.notes import PORTAL_OFF, PORTAL_THERE, notes_of
from ginnel.core.firewall.report import Around, Check, Peer, Report, Result, Target, lost_regions, needs_of
from ginnel.core.firewall.report_json import report_json
from ginnel.core.firewall.report_text import report_lines
from ginnel.core.firewall.verdict import Blocking, classify

PAGE = (Path(__file__).parents[3] / "docs/firewall.md").read_text()
GOOD = classify(Evidence(Step.LOGIN, Ending.DONE))
DROPPED = classify(Evidence(Step.CONNECT, Ending.SILENCE, 3.2))
REFUSED = Evidence(Step.CONNECT, Ending.REFUSED, 0.001)
STUN = classify(Evidence(Step.STUN, Ending.DONE, 0.04))
V4, V6 = "192.0.2.1", "2001:db8::1"
TUNNEL = Check(Target("tunnel", Role.RELAY, "anywhere", 41641, "udp"), V4, STUN)


def relay(region: int, letter: str = "a", need: str = "https") -> Target:
    return Target(
        need, Role.RELAY, f"derp{region}{letter}.example", 443, "tcp", f"{region}{letter}", region, f"r{region}"
    )


def made(*checks: Check, peers: tuple[Peer, ...] = (), home: int = 0, complete: bool = True) -> Report:
    needs = needs_of(joined(checks), expected=("tunnel",))
    lost = lost_regions(needs, Around({1: "One"}, peers, home))
    return Report(needs, lost, notes_of(needs), 1.0, "a test", "by hand", complete)


def test_a_host_is_reached_by_any_of_its_addresses() -> None:
    report = made(TUNNEL, Check(relay(1), V4, DROPPED), Check(relay(1), V6, GOOD))
    assert report.passed
    assert report.lost == ()
    assert [note.startswith("IPv4 is dead for https") for note in report.notes] == [True]


def test_one_relay_of_two_is_a_failed_need_and_no_lost_region() -> None:
    report = made(TUNNEL, Check(relay(1), V4, DROPPED), Check(relay(1, "b"), V4, GOOD))
    assert not report.passed
    assert report.lost == ()
    assert report.notes == ("relay 1a of region 1 is blocked (silent-drop); others of the region carry on",)


def test_an_address_that_does_not_answer_says_more_than_a_name_that_dns_does_not_know() -> None:
    (lost,) = made(TUNNEL, _unknown(), Check(relay(1), V4, DROPPED)).lost
    assert lost.reaches[0].worst == Check(relay(1), V4, DROPPED)
    (lost,) = made(TUNNEL, _unknown()).lost
    assert lost.reaches[0].worst == _unknown()


def _unknown() -> Check:
    return Check(relay(1), "", classify(Evidence(Step.NAME, Ending.SILENCE, 3.0)))


def test_a_tunnel_that_nobody_could_try_is_not_called_blocked() -> None:
    report = made(Check(relay(1), V4, GOOD), replace(TUNNEL, verdict=None, why="the port is taken"))
    lines = list(report_lines(report))
    assert not report.passed
    assert [line.split()[:2] for line in lines if "UDP from port" in line] == [["not", "tried"]]
    assert "  tunnel   UDP to 192.0.2.1: the port is taken" in lines


def test_what_was_looked_at_in_part_is_not_called_all() -> None:
    report = replace(made(TUNNEL, Check(relay(1), V4, GOOD)), limited=True)
    assert list(report_lines(report))[-1] == "All that was asked for passes (1.0 s)."


def test_a_lost_region_names_those_whose_home_it_is() -> None:
    peers = (Peer("zoe", 1), Peer("adam", 1), Peer("eve", 2))
    report = made(TUNNEL, Check(relay(1), V4, DROPPED), Check(relay(2), V4, GOOD), peers=peers, home=1)
    (lost,) = report.lost
    assert (lost.region, lost.peers, lost.own) == (1, ("adam", "zoe"), True)
    assert (
        '  region 1 "r1" (node 1a) blocked (silent-drop): adam, zoe cannot be relayed to; it is this machine\'s own '
        "home, so nobody can relay to it"
    ) in list(report_lines(report))


def test_a_region_of_a_family_that_is_missing_here_is_out_of_reach() -> None:
    report = made(TUNNEL, Check(relay(1), V6, None, "this machine has no IPv6"), peers=(Peer("bob", 1),))
    assert not report.passed
    assert "(node 1a) out of reach (this machine has no IPv6): bob cannot" in "\n".join(report_lines(report))


def test_what_was_not_tried_does_not_pass() -> None:
    assert not made(Check(relay(1), V4, GOOD)).passed  # the tunnel's port
    assert not made(TUNNEL, Check(relay(1), V4, GOOD), complete=False).passed
    assert not made().passed


def test_port_80_never_decides() -> None:
    target = relay(1, need="portal")
    rest = (TUNNEL, Check(relay(1), V4, GOOD))
    dropped = made(*rest, Check(target, V4, classify(Evidence(Step.PORT80, Ending.SILENCE, 2.5))))
    assert (dropped.passed, dropped.notes) == (True, (PORTAL_OFF,))
    portal = Check(target, V4, classify(Evidence(Step.PORT80, Ending.ANSWER, status=302)))
    assert (made(*rest, portal).passed, made(*rest, portal).notes) == (True, (PORTAL_THERE,))
    true = Check(relay(2, need="portal"), V4, classify(Evidence(Step.PORT80, Ending.DONE)))
    assert made(*rest, portal, true).notes == ()  # one true answer outvotes the odd ones


def test_a_refusal_that_is_faster_than_the_host_comes_from_something_nearer() -> None:
    stun = Check(Target("stun", Role.RELAY, "x", 3478, "udp", "1a", 1), V4, STUN)
    (_, refused) = joined([stun, Check(relay(1), V4, classify(REFUSED))])
    assert refused.blocking is Blocking.RESET
    (alone,) = joined([Check(relay(1), V4, classify(REFUSED))])
    assert alone.blocking is Blocking.REFUSED


def test_a_name_that_leads_to_this_machine_is_no_lie_where_that_answers() -> None:
    dead_end = Check(relay(1), "", classify(Evidence(Step.NAME, Ending.ANSWER)))
    assert [check.result for check in joined([dead_end, Check(relay(1), V4, GOOD)])] == [Result.PASSED]
    assert len(joined([dead_end, Check(relay(1), V4, DROPPED)])) == 2


def test_words_of_strangers_cannot_move_a_terminals_cursor() -> None:
    evil = Target("https", Role.RELAY, "derp.example", 443, "tcp", "\x1b[2J", 1, "\x1b]0;x\x07\n")
    report = made(Check(evil, V4, DROPPED), peers=(Peer("\x1b[31mred", 1),))
    assert all(character.isprintable() for line in report_lines(report) for character in line)


def test_the_json_holds_everything_and_can_be_written() -> None:
    report = made(TUNNEL, Check(relay(1), V4, DROPPED), Check(relay(1), V6, None, "no IPv6"))
    told = json.loads(json.dumps(report_json(report)))
    assert (told["passed"], told["lost"][0]["region"]) == (False, 1)
    assert [(check["result"], check["blocking"]) for check in told["checks"]] == [
        ("failed", "silent-drop"), ("untried", None), ("passed", "none")
    ]  # fmt: skip
    assert told["checks"][0]["evidence"] == {"step": "connect", "ending": "silence", "seconds": 3.2}


def test_thousands_of_lost_regions_are_told_in_few_lines() -> None:
    checks = [Check(relay(region), V4, DROPPED) for region in range(1, 2_001)]
    peers = tuple(Peer(f"peer{number}", 1) for number in range(2_000))
    lines = list(report_lines(made(*checks, peers=peers)))
    assert len(lines) < 120
    assert max(map(len, lines)) < 1000


def test_the_lines_that_the_page_shows_are_those_that_are_printed() -> None:
    """docs/firewall.md, Trying it for real."""
    block = PAGE.partition("## Trying it for real")[2].partition("```\nFAILED")[2].partition("```")[0]
    shown = ("FAILED" + block).splitlines()
    control = Target("https", Role.CONTROL, "vpn.example.com", 443)
    checks = [Check(control, V4, GOOD), Check(control, V6, GOOD), TUNNEL, replace(TUNNEL, address=V6)]
    for number in range(901, 926):
        code = "fra" if number == 902 else f"r{number}"
        derp = replace(relay(number), region_code=code)
        checks += [Check(derp, ip, DROPPED if number == 902 else GOOD) for ip in (V4, V6)]
        for need, seen in (("stun", STUN), ("portal", classify(Evidence(Step.PORT80, Ending.DONE)))):
            checks += [Check(replace(derp, need=need), ip, seen) for ip in (V4, V6)]
    printed = list(report_lines(made(*checks, peers=(Peer("alice", 902), Peer("bob", 902)))))
    assert len(shown) == 7
    assert [line for line in shown if line not in printed] == []


def test_the_tunnel_is_not_judged_where_stun_is_blocked_from_every_port() -> None:
    silent = classify(Evidence(Step.STUN, Ending.SILENCE, 3.0))
    stun = Check(relay(1, need="stun"), V4, silent)
    report = made(replace(TUNNEL, verdict=silent), Check(relay(1), V4, GOOD), stun)
    assert {need.id: need.passed for need in report.needs} == {"https": True, "tunnel": None, "stun": False}
    other = Check(relay(2, need="stun"), V4, STUN)
    report = made(replace(TUNNEL, verdict=silent), Check(relay(1), V4, GOOD), stun, other)
    assert {need.id: need.passed for need in report.needs}["tunnel"] is False


def test_what_was_not_tried_has_its_reason_and_no_kind() -> None:
    named = Check(relay(1), "", classify(Evidence(Step.NAME, Ending.DONE)))
    report = made(TUNNEL, named, Check(relay(1), V4, None, "this machine has no route by IPv4"))
    text = "\n".join(report_lines(report))
    assert "out of reach (this machine has no route by IPv4)" in text
    assert "none" not in text
