"""Long lists of like rules: judged as one, to the same answer, and quoted by the rule that decides."""

from __future__ import annotations

import time
from ipaddress import ip_address
from random import Random

import pytest

from ginnel.core.firewall.backends import who_blocks
from ginnel.core.firewall.lint import iptables, nft_json, runs
from ginnel.core.firewall.lint.judge import Answer, lint
from ginnel.core.firewall.lint.regions import needs_of_region
from ginnel.core.firewall.lint.trips import Where
from ginnel.core.firewall.needs import Need
from tests.core.firewall.lint.rules import HTTPS, TUNNEL_IN, finding, nft, save
from tests.core.firewall.lint.rulesets import IptablesRules

OPEN = "-A INPUT -p udp -m udp --dport 41641 -j ACCEPT"
MANY = 20_000


def addresses(count: int) -> list[str]:
    draw = Random(7)
    return [f"8.{n >> 8 & 255}.{n & 255}.{draw.randrange(256)}" for n in range(count)]


def test_many_blocked_addresses_are_quoted_as_one() -> None:
    got = finding(iptables.parse(save(*(f"-A INPUT -s {a}/32 -j DROP" for a in addresses(40)), OPEN)), TUNNEL_IN)
    assert got.answer is Answer.DEPENDS
    assert [q.text for q in got.quotes] == [
        f"-A INPUT -s {addresses(1)[0]}/32 -j DROP, and 39 more rules like it",
        OPEN,
    ]


def test_the_one_rule_of_many_that_decides_is_quoted_by_itself() -> None:
    rules = iptables.parse(save(*(f"-A OUTPUT -d {n}.0.0.0/8 -j DROP" for n in range(1, 40))))
    (https, _) = lint(rules, needs_of_region("x", (ip_address("39.1.2.3"),)))
    assert https.answer is Answer.BLOCKED
    assert [q.text for q in https.quotes] == ["-A OUTPUT -d 39.0.0.0/8 -j DROP"]


def test_an_accept_is_put_before_the_rule_that_stops_all_and_not_before_its_neighbours() -> None:
    refused = [f"-A INPUT -s {a}/32 -j DROP" for a in addresses(20)]
    rules = iptables.parse(save(*refused, "-A INPUT -s 0.0.0.0/0 -j DROP", OPEN, policy="ACCEPT"))
    (blocked,) = who_blocks(rules, 41641, Where()).blocked
    assert blocked.spot.before is not None
    assert blocked.spot.before.text == "-A INPUT -s 0.0.0.0/0 -j DROP"


def test_an_accept_among_drops_is_not_lost_in_a_run() -> None:
    """Its values overlap, so their order counts."""
    drops = [f"-A INPUT -s {a}/32 -j DROP" for a in addresses(20)]
    rules = save(*drops[:10], "-A INPUT -s 8.0.0.0/8 -j ACCEPT", *drops[10:], policy="DROP")
    got = finding(iptables.parse(rules), TUNNEL_IN)
    (accepted,) = [q for q in got.quotes if q.answer is Answer.PASSES]
    assert accepted.text == "-A INPUT -s 8.0.0.0/8 -j ACCEPT"
    assert not any("more rules" in q.text for q in got.quotes)


@pytest.mark.parametrize("seed", range(60))
def test_runs_do_what_their_rules_do_one_by_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = IptablesRules(seed, 4).text()
    found = []
    for shortest in (2, 10_000):
        monkeypatch.setattr(runs, "SHORTEST", shortest)
        found.append([f.answer for f in lint(iptables.parse(text), [HTTPS, TUNNEL_IN, *PORTS])])
    assert found[0] == found[1], text


PORTS = [Need(f"{t} {p}", "in", t, None, p, families=(4,)) for t in ("tcp", "udp") for p in (22, 53, 443)]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["iptables", "iptables by a chain", "nft rules", "nft set"])
def test_a_list_of_20000_is_judged_in_a_second(kind: str) -> None:
    text = LISTS[kind]()
    started = time.process_time()
    rules = iptables.parse(text) if kind.startswith("iptables") else nft_json.parse(text)
    assert finding(rules, TUNNEL_IN).answer is Answer.DEPENDS
    assert time.process_time() - started < 3


def by_rules(target: str) -> str:
    return save(*(f"-A INPUT -s {a}/32 -j {target}" for a in addresses(MANY)), "-A LD -j DROP", OPEN, chains=("LD",))


def match(protocol: str, field: str, value: object) -> dict[str, object]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": value}}


UDP = [match("udp", "dport", 41641), {"accept": None}]
LISTS = {
    "iptables": lambda: by_rules("DROP"),
    "iptables by a chain": lambda: by_rules("LD"),
    "nft rules": lambda: nft(*([match("ip", "saddr", a), {"drop": None}] for a in addresses(MANY)), UDP),
    "nft set": lambda: nft([match("ip", "saddr", {"set": addresses(MANY)}), {"drop": None}], UDP),
}
