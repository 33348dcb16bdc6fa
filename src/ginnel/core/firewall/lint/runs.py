"""Long lists of rules that differ in one field alone, such as 20,000 blocked addresses, taken as one.

Room: core. A list is walked as one rule whose values are the union; what it decides is the same, and which of its rules
did so is looked up afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ginnel.core.firewall.lint.fields import Box, universe
from ginnel.core.firewall.lint.ints import Ints, both, joined, size
from ginnel.core.firewall.lint.model import Assign, Chain, Do, Ending, Jump, Rule, Step, Switch, Verdict, When

SHORTEST = 16
FINAL = frozenset({Verdict.ACCEPT, Verdict.DROP, Verdict.REJECT, Verdict.RETURN})


@dataclass(frozen=True, slots=True)
class Run:
    """rules: those that it stands for, in order, each with its values of the field. merged: one rule for them all."""

    rules: tuple[tuple[Rule, Ints], ...]
    field: str
    merged: Rule

    def deciding(self, box: Box) -> tuple[Rule, str]:
        """(the last of the rules that is about such packets, how they are quoted)."""
        have = box.get(self.field, universe(self.field))
        last = self._about(have, reversed(self.rules))
        first = self._about(have, self.rules)
        more = "" if first is last else f", and {len(self.rules) - 1} more rules like it"
        return last, first.text + more

    def _about(self, have: Ints, rules: Iterable[tuple[Rule, Ints]]) -> Rule:
        return next((rule for rule, values in rules if both(have, values)), self.rules[0][0])


@dataclass(frozen=True, slots=True)
class _Kind:
    """What rules of one run share. at: of the step that sets them apart, by this field. besides: what else it asks for.
    others: the steps before and behind it, without the last."""

    at: int
    field: str
    besides: tuple[tuple[str, Ints], ...]
    others: tuple[Step, ...]


_Held = list[tuple[Rule, Ints]]


def runs(chain: Chain) -> list[Rule | Run]:
    """The chain's rules, but those that do nothing to a packet. Made once: a chain that is read does not change."""
    if chain.runs is None:
        chain.runs = list(_runs(rule for rule in chain.rules if _acts(rule)))
    return chain.runs


def _acts(rule: Rule) -> bool:
    return any(isinstance(step, Do | Switch | Assign) for step in rule.steps)


def _runs(rules: Iterable[Rule]) -> Iterator[Rule | Run]:
    kind: _Kind | None = None
    held: _Held = []
    for rule in rules:
        found = _kind(rule)
        if found is not None and found[0] == kind:
            held.append((rule, found[1]))
            continue
        yield from _joined(kind, held)
        kind, held = (found[0], [(rule, found[1])]) if found is not None else (None, [])
        if found is None:
            yield rule
    yield from _joined(kind, held)


def _kind(rule: Rule) -> tuple[_Kind, Ints] | None:
    """By the first match of one case; None where no rule is like it."""
    if not isinstance(rule.steps[-1], Do) or any(isinstance(step, Assign | Switch) for step in rule.steps):
        return None
    for at, step in enumerate(rule.steps):
        match step:
            case When(cases=(case,), negated=False) if case:
                *besides, (field, values) = case.items()
                return _Kind(at, field, tuple(besides), (*rule.steps[:at], *rule.steps[at + 1 : -1])), values
    return None


def _joined(kind: _Kind | None, held: _Held) -> Iterator[Rule | Run]:
    if kind is None or len(held) < SHORTEST or kind.field in dict(kind.besides):
        yield from (rule for rule, _ in held)
        return
    by_ending: dict[Ending, _Held] = {}
    for rule, values in held:
        last = rule.steps[-1]
        assert isinstance(last, Do)
        by_ending.setdefault(last.ending, []).append((rule, values))
    alike = len(by_ending) == 1 and all(map(_final, by_ending))
    if not alike and not _apart(values for _, values in held):  # it matters which comes first, or that both do
        yield from (rule for rule, _ in held)
        return
    for ending, rules in by_ending.items():
        yield _run(kind, ending, rules)


def _run(kind: _Kind, ending: Ending, held: _Held) -> Run:
    union = joined(i for _, values in held for i in values)
    found = When(({**dict(kind.besides), kind.field: union},))
    first = held[0][0]
    steps = (*kind.others[: kind.at], found, *kind.others[kind.at :], Do(ending))
    return Run(tuple(held), kind.field, Rule(first.text, steps, first.handle))


def _final(ending: Ending) -> bool:
    """What comes back from a chain, or goes on, meets the next rule too."""
    return not isinstance(ending, Jump) and ending in FINAL


def _apart(every: Iterable[Ints]) -> bool:
    parts = list(every)
    return sum(size(values) for values in parts) == size(joined(i for values in parts for i in values))
