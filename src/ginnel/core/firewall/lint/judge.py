"""What a rule set makes of the mesh's needs: passes, blocked, depends on what, or unknown; and which rule says so.

Room: core. `lint` is for the command, `inbound_udp` for the daemon and the doctor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ginnel.core.firewall.lint.fields import STATES, TOLD_APART, Box, Field, meet
from ginnel.core.firewall.lint.ints import both, joined, point, span
from ginnel.core.firewall.lint.model import RuleSet, Verdict
from ginnel.core.firewall.lint.trips import Family, Trip, Where, remotes, trips
from ginnel.core.firewall.lint.walk import Decided, Outcome, TooComplex, Walk
from ginnel.core.firewall.lint.words import in_words
from ginnel.core.firewall.needs import Need

ANYWHERE = Where()
MAX_PARTS = 6
MAX_PAIRS = 20_000


class Answer(StrEnum):
    PASSES = "passes"
    BLOCKED = "blocked"
    DEPENDS = "depends"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quote:
    """The rule or policy that decides. where: table and chain. text: the rule as in the file. packets: what of the need
    it decides, in words, "" all of it. answer: what it makes of these packets."""

    answer: Answer
    where: str
    text: str
    packets: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One need in one family. quotes: the deciding rules, those that block first. notes: what else to know."""

    need: Need
    family: Family
    answer: Answer
    quotes: tuple[Quote, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leg:
    """What becomes of one kind of a need's packets. untracked: a part of it goes on untracked. by: where it is blocked,
    the policy that decides, or else the last rule that does."""

    answer: Answer
    quotes: tuple[Quote, ...]
    untracked: bool = False
    by: Decided | None = None


def lint(rules: RuleSet, needs: Iterable[Need], where: Where = ANYWHERE) -> tuple[Finding, ...]:
    """Every need in every family that it has."""
    return tuple(judge(rules, need, family, where) for need in needs for family in need.families)


def inbound_udp(rules: RuleSet, port: int, where: Where = ANYWHERE) -> tuple[Finding, ...]:
    """Whether this host's own firewall lets datagrams from anywhere come to the port, for each family it rules."""
    need = Need("tunnel-in", "in", "udp", None, port, optional=True)
    return tuple(judge(rules, need, family, where) for family in need.families if family in rules.families)


def judge(rules: RuleSet, need: Need, family: Family, where: Where = ANYWHERE) -> Finding:
    if family not in rules.families:
        return Finding(need, family, Answer.UNKNOWN, (), (f"the file has no rules for IPv{family}",))
    must, well = remotes(need, family)
    if not must:
        return Finding(need, family, Answer.UNKNOWN, (), (f"no IPv{family} address is known for it",))
    answer, quotes = _judge(rules, trips(need, family, where, must))
    notes = []
    if well and answer is Answer.PASSES:
        near, why = _judge(rules, trips(need, family, where, well))
        if near is not Answer.PASSES:
            notes.append(f"private addresses: {near}: {why[0].text}" if why else f"private addresses: {near}")
    return Finding(need, family, answer, quotes, tuple(notes))


def arrival(rules: RuleSet, need: Need, family: Family, where: Where = ANYWHERE) -> Leg:
    """What becomes of the first packet alone."""
    return _leg(rules, trips(need, family, where, remotes(need, family)[0])[0])


def stopped_by(rules: RuleSet, legs: Iterable[Trip]) -> Decided | None:
    """The rule or policy that stops all packets of the first kind that it stops; None where some of each pass, or where
    that is not clear."""
    found = (_leg(rules, leg) for leg in legs)
    return next((leg.by for leg in found if leg.answer is Answer.BLOCKED), None)


def _judge(rules: RuleSet, legs: Sequence[Trip]) -> tuple[Answer, tuple[Quote, ...]]:
    """The worst of the packets that a need is made of; its first packet's rule where all pass."""
    found: list[Leg] = []
    for leg in legs:
        found.append(_leg(rules, _unseen(leg) if any(before.untracked for before in found) else leg))
        if found[-1].answer is Answer.BLOCKED:
            return Answer.BLOCKED, found[-1].quotes
    order = (Answer.UNKNOWN, Answer.DEPENDS, Answer.PASSES)
    worst = min(found, key=lambda leg: order.index(leg.answer))
    return worst.answer, worst.quotes


def _unseen(leg: Trip) -> Trip:
    """After a packet that was not tracked: the kernel takes the next for the first of its connection, or not."""
    states = joined((STATES[name], STATES[name]) for name in ("established", "new"))
    return replace(leg, box={**leg.box, Field.CT_STATE: states, Field.CT_DIRECTION: span(0, 1)})


def _leg(rules: RuleSet, trip: Trip) -> Leg:
    walk = Walk(rules)
    try:
        outcomes = walk.through(trip.hooks, trip.box, trip.family, new=trip.new)
    except TooComplex as error:
        return Leg(Answer.UNKNOWN, (Quote(Answer.UNKNOWN, "", str(error), trip.name),))
    answer = _answer(outcomes)
    untracked = any(both(o.box[Field.CT_STATE], point(STATES["untracked"])) for o in outcomes)
    by = sorted((o.by[-1] for o in outcomes), key=lambda d: d.rule is None)[-1] if answer is Answer.BLOCKED else None
    return Leg(answer, _quotes(answer, outcomes, trip, walk.doubts), untracked, by)


def _answer(outcomes: Sequence[Outcome]) -> Answer:
    passing = [o.box for o in outcomes if o.verdict is Verdict.ACCEPT]
    stopped = [o.box for o in outcomes if o.verdict in (Verdict.DROP, Verdict.REJECT)]
    if any(o.verdict is Verdict.UNCLEAR for o in outcomes):
        return Answer.UNKNOWN
    if not stopped:
        return Answer.PASSES
    if not passing:
        return Answer.BLOCKED
    return Answer.UNKNOWN if _by_doubt(passing, stopped) else Answer.DEPENDS


def _by_doubt(passing: Sequence[Box], stopped: Sequence[Box]) -> bool:
    """Whether a packet that is the same by all that a user sees both passes and is stopped, other than by a limit."""
    if len(passing) * len(stopped) > MAX_PAIRS:
        return any(_doubtful(box) for box in (*passing, *stopped))
    pairs = ((a, b) for a in passing for b in stopped if _differ_unseen(a, b))
    return any(meet(a, b, TOLD_APART) and not _by_limit(a, b) for a, b in pairs)


def _differ_unseen(one: Box, other: Box) -> bool:
    """In a field that no user sees; looked at first, since long lists of addresses take long to compare."""
    return any(f not in TOLD_APART and not both(one[f], other[f]) for f in one.keys() & other.keys())


def _by_limit(one: Box, other: Box) -> bool:
    """A limit tells them apart, whatever else does."""
    return any(f[0] == "%" and one[f] != other[f] for f in one.keys() & other.keys())


def _doubtful(box: Box) -> bool:
    return any(f[0] == "?" for f in box)


def _quotes(answer: Answer, outcomes: Sequence[Outcome], leg: Trip, doubts: dict[str, Decided]) -> tuple[Quote, ...]:
    """Blocking ones first, each rule once."""
    found: dict[tuple[str, str], tuple[Answer, list[Box]]] = {}
    if answer is Answer.UNKNOWN:
        for decided in _doubted(outcomes, doubts):
            found.setdefault((decided.chain.where, decided.text), (Answer.UNKNOWN, []))
    for outcome in sorted(outcomes, key=lambda o: o.verdict is Verdict.ACCEPT):
        by = _deciding(outcome)
        if by is not None:
            place = (by.chain.where, by.text)
            found.setdefault(place, (ANSWERS[outcome.verdict], []))[1].append(outcome.box)
    got = []
    for (where, text), (what, boxes) in list(found.items())[:MAX_PARTS]:
        packets = in_words(boxes, leg.box, inward=leg.inward) if answer is Answer.DEPENDS else ""
        got.append(Quote(what, where, text, ": ".join(part for part in (leg.name, packets) if part)))
    return tuple(got)


ANSWERS = {Verdict.ACCEPT: Answer.PASSES, Verdict.DROP: Answer.BLOCKED, Verdict.REJECT: Answer.BLOCKED,
           Verdict.UNCLEAR: Answer.UNKNOWN}  # fmt: skip


def _deciding(outcome: Outcome) -> Decided | None:
    """The last one where a packet is stopped; where it passes, a rule that says so before a policy that does."""
    if outcome.verdict is not Verdict.ACCEPT:
        return outcome.by[-1]
    explicit = [d for d in outcome.by if d.rule is not None]
    filters = [d for d in outcome.by if not d.chain.nat and d.chain.priority == 0] or list(outcome.by)
    return explicit[-1] if explicit else filters[-1] if filters else None


def _doubted(outcomes: Sequence[Outcome], doubts: dict[str, Decided]) -> list[Decided]:
    names = {f for o in outcomes for f in o.box if f[0] == "?"}
    return [decided for name, decided in doubts.items() if name in names]
