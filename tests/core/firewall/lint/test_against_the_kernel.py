"""The same rule sets in a real kernel, probed with real packets: it and the evaluator agree on every one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from ginnel.core.firewall.lint import iptables, nft_json, runs
from ginnel.core.firewall.lint.effects import holds
from ginnel.core.firewall.lint.fields import NFPROTO, NO_INTERFACE, STATES, TYPES, Box, Field, interface
from ginnel.core.firewall.lint.ints import point
from ginnel.core.firewall.lint.model import INWARD, OUTWARD, RuleSet, Verdict
from ginnel.core.firewall.lint.read import read
from ginnel.core.firewall.lint.walk import Walk
from ginnel.lab import LabError
from tests.core.firewall.lint import realistic
from tests.core.firewall.lint.ipsets import IPSETS, with_ipsets
from tests.core.firewall.lint.kernel import Kernel, Probe, Seen, every_probe, kernel
from tests.core.firewall.lint.odd_rulesets import OddIptablesRules, OddNftRules
from tests.core.firewall.lint.rulesets import IptablesRules, NftRules
from tests.shell.firewall.firewalld import with_firewalld
from tests.shell.firewall.hosts import host as ufw_host

pytestmark = pytest.mark.root
EVERY = every_probe()
UNSURE = None


@pytest.fixture(scope="module")
def hosts() -> Iterator[Kernel]:
    with kernel() as made:
        yield made


@pytest.fixture
def host(hosts: Kernel, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Without any rules. Two like rules in a row are a list that is judged as one."""
    monkeypatch.setattr(runs, "SHORTEST", 2)
    hosts.run(["nft", "flush", "ruleset"])
    for name in ("iptables-legacy", "ip6tables-legacy"):
        clear(hosts, name)
    return hosts


def packet(p: Probe, *, inward: bool, state: str, flags: int) -> Box:
    own, theirs = (int(ip_address(p.own)), p.own_port), (int(ip_address(p.theirs)), p.their_port)
    (saddr, sport), (daddr, dport) = (theirs, own) if inward else (own, theirs)
    six = p.family == 6
    outside = interface(p.device)
    return {
        Field.NFPROTO: point(NFPROTO[p.family]),
        Field.L4PROTO: point(6 if p.tcp else 17),
        Field.SADDR6 if six else Field.SADDR4: point(saddr),
        Field.DADDR6 if six else Field.DADDR4: point(daddr),
        Field.SPORT: point(sport),
        Field.DPORT: point(dport),
        Field.IIF: outside if inward else NO_INTERFACE,
        Field.OIF: NO_INTERFACE if inward else outside,
        Field.CT_STATE: point(STATES[state]),
        Field.CT_DIRECTION: point(int(inward != p.inward)),
        Field.TCP_FLAGS: point(flags),
        Field.MARK: point(0),
        Field.CT_MARK: point(0),
        Field.PACKET_TYPE: point(0),
        Field.TO_TYPE: point(TYPES["local" if inward else "unicast"]),
        Field.FROM_TYPE: point(TYPES["unicast" if inward else "local"]),
        Field.SOCKET_UID: point(0),
    }


SYN_ACK = 18
WIDE = (Field.SADDR4, Field.DADDR4, Field.SADDR6, Field.DADDR6, Field.SPORT, Field.DPORT)


class Model:
    """The evaluator's word on single packets, and on whole classes of them."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.classes: dict[object, object] = {}

    def passes(self, p: Probe, *, inward: bool, state: str, flags: int = 0) -> tuple[bool | None, bool | None]:
        """(whether it does, whether it goes on untracked)."""
        one = packet(p, inward=inward, state=state, flags=flags if p.tcp else 0)
        if state != "new":
            del one[Field.CT_MARK]  # an earlier packet may have given the connection one
        if inward:
            del one[Field.SOCKET_UID]  # nobody has looked for its socket yet
        if state == "new":
            one[Field.CT_DIRECTION] = point(0)
        hooks = INWARD if inward else OUTWARD
        outcomes = Walk(self.rules).through(hooks, one, p.family, new=state == "new")
        verdicts = {o.verdict for o in outcomes}
        assert verdicts == self._of_class(p, one, inward, state)
        seen_so = {o.box[Field.CT_STATE] == point(STATES["untracked"]) for o in outcomes}
        untracked = seen_so.pop() if len(seen_so) == 1 else None
        if len(verdicts) > 1 or Verdict.UNCLEAR in verdicts:
            return UNSURE, untracked
        return verdicts == {Verdict.ACCEPT}, untracked

    def _of_class(self, p: Probe, one: Box, inward: bool, state: str) -> set[Verdict]:
        """The same packet, looked up in what becomes of all addresses and ports at once."""
        wide = {field: values for field, values in one.items() if field not in WIDE}
        key = tuple(sorted((k, v) for k, v in wide.items()))
        if key not in self.classes:
            hooks = INWARD if inward else OUTWARD
            self.classes[key] = Walk(self.rules).through(hooks, wide, p.family, new=state == "new")
        return {o.verdict for o in self.classes[key] if holds({f: v for f, v in o.box.items() if f in WIDE}, one)}  # type: ignore[attr-defined]

    def _after(
        self, untracked: list[bool | None], p: Probe, *, inward: bool, flags: int
    ) -> tuple[bool | None, bool | None]:
        """Behind packets that were not tracked the next is the first of its connection; None: that is not sure."""
        unseen = "invalid" if p.tcp and flags == SYN_ACK else "new"
        states = [unseen] if True in untracked else [unseen, "established"] if None in untracked else ["established"]
        said = [self.passes(p, inward=inward, state=state, flags=flags) for state in states]
        verdicts, tracked = ({each[n] for each in said} for n in (0, 1))
        return verdicts.pop() if len(verdicts) == 1 else UNSURE, tracked.pop() if len(tracked) == 1 else None

    def expects(self, p: Probe) -> tuple[bool | None, bool | None]:
        """(the first packet arrives, and all the rest)."""
        first, unseen = self.passes(p, inward=p.inward, state="new", flags=2)
        back, untracked = self._after([unseen], p, inward=not p.inward, flags=SYN_ACK)
        more, _ = self._after([unseen, untracked], p, inward=p.inward, flags=16)
        rest = False if False in (first, back, more) else UNSURE if UNSURE in (first, back, more) else True
        return (rest if p.tcp else first), rest


def sample(seed: int, count: int = 40) -> list[Probe]:
    """No two between the same two sockets."""
    draw = Random(seed)
    got: dict[object, Probe] = {}
    for p in draw.sample(EVERY, count):
        got.setdefault((p.tcp and draw.random(), p.own, p.own_port, p.theirs, p.their_port), p)
    return list(got.values())


def compare(host: Kernel, rules: RuleSet, seed: int, text: str) -> int:
    """How many answers were sure. A busy machine may lose a packet: a loss that nobody foretold must happen twice."""
    model = Model(rules)
    found = [(seen, model.expects(seen.probe)) for seen in host.probe(sample(seed))]
    lost = [(seen, wanted) for seen, wanted in found if not agree(seen, wanted)]
    for seen, wanted in lost:
        assert not any(t and w is False for w, t in zip(wanted, told(seen), strict=True)), explain(
            seed, seen, wanted, text
        )
        (again,) = host.probe([seen.probe])
        assert agree(again, wanted), explain(seed, again, wanted, text)
    return sum(UNSURE not in wanted for _, wanted in found)


def told(seen: Seen) -> tuple[bool, bool]:
    return seen.arrived, seen.answered


def agree(seen: Seen, wanted: tuple[bool | None, bool | None]) -> bool:
    return all(w in (t, UNSURE) for w, t in zip(wanted, told(seen), strict=True))


def explain(seed: int, seen: Seen, wanted: object, text: str) -> str:
    return f"seed {seed}: {seen}, but the evaluator says (arrived, answered) = {wanted}; rules:\n{text}"


def nft(host: Kernel, text: str) -> tuple[RuleSet, str]:
    """Loaded without the rules that nft finds contradictory: (what it lists, what was loaded)."""
    lines = text.splitlines()
    for _ in range(12):
        try:
            host.run(["nft", "-f", "-"], "flush ruleset\n" + "\n".join(lines) + "\n")
            return nft_json.parse(host.run(["nft", "-j", "list", "ruleset"])), "\n".join(lines)
        except LabError as error:
            found = re.search(r"stdin:(\d+):", str(error))
            assert found, error
            lines.pop(int(found[1]) - 2)
    raise AssertionError(f"too many contradictions: {text}")


@pytest.mark.parametrize("block", range(8))
def test_random_nft_rules_do_to_packets_what_the_evaluator_says(host: Kernel, block: int) -> None:
    sure = 0
    for seed in range(block * 20, block * 20 + 20):
        rules, text = nft(host, NftRules(seed).text())
        sure += compare(host, rules, seed, text)
    assert sure > 500


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("block", range(3))
def test_random_iptables_rules_do_to_packets_what_the_evaluator_says(host: Kernel, program: str, block: int) -> None:
    sure = 0
    for seed in range(block * 15, block * 15 + 15):
        texts = {version: IptablesRules(seed * 2 + version, version).text() for version in (4, 6)}
        saved = RuleSet(families=frozenset())
        for version, text in texts.items():
            name = program if version == 4 else program.replace("ip", "ip6", 1)
            clear(host, name)
            host.run([f"{name}-restore"], text)
            saved = saved.joined(iptables.parse(host.run([f"{name}-save"])))
        sure += compare(host, saved, seed, "\n".join(texts.values()))
    assert sure > 350


def clear(host: Kernel, program: str) -> None:
    for table in ("raw", "mangle", "nat", "security"):
        host.run([f"{program}-restore"], f"*{table}\nCOMMIT\n")
    host.run([f"{program}-restore"], "*filter\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:FORWARD ACCEPT\nCOMMIT\n")


ODD = int(os.environ.get("GINNEL_LINT_SEEDS", "12"))
"""Sets of each kind with the less usual parts; 600 have been tried."""


def test_odd_nft_rules_do_to_packets_what_the_evaluator_says(host: Kernel) -> None:
    sure = 0
    for seed in range(ODD):
        rules, text = nft(host, OddNftRules(seed).text())
        sure += compare(host, rules, seed, text)
    assert sure > 20 * ODD


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_odd_iptables_rules_do_to_packets_what_the_evaluator_says(host: Kernel, program: str) -> None:
    sure = 0
    for seed in range(ODD):
        host.run(["nft", "flush", "ruleset"])
        saved, texts = RuleSet(families=frozenset()), []
        for version in (4, 6):
            name = program if version == 4 else program.replace("ip", "ip6", 1)
            clear(host, name)
            texts.append(OddIptablesRules(seed * 2 + version, version).text())
            host.run([f"{name}-restore"], texts[-1])
            saved = saved.joined(iptables.parse(host.run([f"{name}-save"])))
        sure += compare(host, saved, seed, "\n".join(texts))
    assert sure > 20 * ODD


@pytest.mark.parametrize("name", realistic.NFT)
def test_people_s_nft_rules_do_what_the_evaluator_says(host: Kernel, name: str) -> None:
    host.run(["nft", "-f", "-"], realistic.NFT[name])
    rules = nft_json.parse(host.run(["nft", "-j", "list", "ruleset"]))
    assert sum(compare(host, rules, seed, name) for seed in range(4)) > 100


@pytest.mark.parametrize("name", realistic.IPTABLES)
def test_people_s_iptables_rules_do_what_the_evaluator_says(host: Kernel, name: str) -> None:
    host.run(["iptables-nft-restore"], realistic.IPTABLES[name])
    rules = iptables.parse(host.run(["iptables-nft-save"])).joined(iptables.parse(OPEN6))
    assert sum(compare(host, rules, seed, name) for seed in range(4)) > 100


def test_ufw_s_own_rules_do_what_the_evaluator_says(host: Kernel, tmp_path: Path) -> None:
    with ufw_host(tmp_path) as made:
        made.with_ufw()
        for words in UFW_RULES:
            made.run("ufw", *words.split())
        made.run("ufw", "--force", "enable")
        saved = {name: made.run(f"{name}-save") for name in ("iptables", "ip6tables")}
    rules = RuleSet(families=frozenset())
    for name, text in saved.items():
        host.run([f"{name}-restore"], text)
        rules = rules.joined(iptables.parse(text))
    assert sum(compare(host, rules, seed, "ufw") for seed in range(4)) > 100


def test_firewalld_s_own_rules_do_what_the_evaluator_says(host: Kernel) -> None:
    some = "firewall-cmd -q --add-service=https; firewall-cmd -q --zone=trusted --add-source=10.0.0.0/8\n"
    rules, text = nft(host, with_firewalld(some + "nft list ruleset"))
    assert sum(compare(host, rules, seed, text) for seed in range(4)) > 100


UFW_RULES = ("allow 22/tcp", "limit 443/tcp", "allow proto udp from 5.5.0.0/16 to any port 41641", "deny out 3478")
OPEN6 = "# Generated by ip6tables-save\n*filter\n:INPUT ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"


@pytest.mark.parametrize("seed", range(24))
def test_ipsets_do_to_packets_what_the_evaluator_says(host: Kernel, seed: int) -> None:
    draw, texts, saved = Random(seed), [], RuleSet(families=frozenset())
    host.run(["ipset", "restore", "-exist"], IPSETS)
    for version in (4, 6):
        texts.append(with_ipsets(draw, version))
        program = "iptables" if version == 4 else "ip6tables"
        host.run([f"{program}-restore"], texts[-1])
        saved = saved.joined(iptables.parse(host.run([f"{program}-save"])))
    rules = saved.joined(read(host.run(["ipset", "save"]).encode()))
    assert sum(compare(host, rules, seed * 3 + n, "\n".join(texts)) for n in range(3)) > 90
