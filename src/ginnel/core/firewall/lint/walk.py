"""Sending a class of packets through the chains: where it parts, what becomes of each part, and which rule says so.

Room: core. Exact for what the model can say; a class that parts too often is given up as `TooComplex`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ginnel.core.firewall.lint.effects import assigned, early, told, untold
from ginnel.core.firewall.lint.fields import Box, Field, split, universe
from ginnel.core.firewall.lint.ints import joined, point, points
from ginnel.core.firewall.lint.model import (
    MAX_JUMPS,
    Assign,
    Chain,
    Do,
    Ending,
    Hook,
    InSet,
    Jump,
    Masked,
    Rule,
    RuleSet,
    Step,
    Switch,
    Verdict,
    When,
)
from ginnel.core.firewall.lint.runs import Run, runs

BUDGET = 1_000_000  # steps of one walk: a second or two
MAX_BOXES = 4_000
AGAIN = "\0"  # in a doubt's name: behind it, which time it was asked
TOO_MANY = "the rules part the packets into too many classes"


class TooComplex(Exception):
    """The rules part the packets into more classes than can be looked at."""


@dataclass(frozen=True, slots=True)
class Decided:
    """rule: None is the chain's policy. quoted: where more than the rule decides."""

    chain: Chain
    rule: Rule | None
    quoted: str = ""

    @property
    def text(self) -> str:
        return self.quoted or (self.rule.text if self.rule is not None else f"policy {self.chain.policy}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """by: the rules and policies that decided, one for each base chain that was met, the last one last."""

    box: Box
    verdict: Verdict
    by: tuple[Decided, ...]


@dataclass(slots=True)
class _Parts:
    """What a rule or chain makes of packets: those it ended, those it sends back to the caller, those that go on."""

    ended: list[tuple[Box, Verdict, Decided]]
    back: list[Box]
    on: list[Box]


@dataclass(frozen=True, slots=True)
class _Here:
    """The rule that is being looked at, and what has come of it so far."""

    chain: Chain
    rule: Rule
    got: _Parts
    depth: int
    run: Run | None = None

    def decided(self, box: Box) -> Decided:
        if self.run is None:
            return Decided(self.chain, self.rule)
        return Decided(self.chain, *self.run.deciding(box))


class Walk:
    """One rule set, walked any number of times; `doubts` gathers which rule holds each match that may go both ways."""

    def __init__(self, rules: RuleSet, budget: int = BUDGET) -> None:
        self._rules = rules
        self._left = budget
        self._assigned = self._questions = 0
        self.doubts: dict[str, Decided] = {}

    def through(self, hooks: Sequence[Hook], box: Box, family: int, *, new: bool) -> list[Outcome]:
        """new: the first packet of its flow, which alone meets NAT chains. Raises TooComplex."""
        live: list[tuple[Box, tuple[Decided, ...]]] = [(box, ())]
        over: list[Outcome] = []
        for hook in hooks:
            for chain in self._rules.base(hook, family):
                if chain.nat and not new:
                    continue
                live, ended = self._base(chain, live, Field.IIF if hook in ("ingress", "prerouting") else Field.OIF)
                over += ended
        return over + [Outcome(box, Verdict.ACCEPT, by) for box, by in live]

    def _base(
        self, chain: Chain, live: list[tuple[Box, tuple[Decided, ...]]], side: Field
    ) -> tuple[list[tuple[Box, tuple[Decided, ...]]], list[Outcome]]:
        passed, over = [], []
        for box, by in live:
            here, rest = split(box, self._at(chain, side))
            passed += [(b, by) for b in rest]
            if here is None:
                continue
            parts = self._chain(chain, [untold(here) if early(chain) else here], 0)
            policy = Decided(chain, None)
            ended = [*parts.ended, *((b, chain.policy, policy) for b in parts.back + parts.on)]
            for part, verdict, decided in ended:
                known = told(part, here) if early(chain) else part
                if verdict is Verdict.ACCEPT:
                    passed.append((known, (*by, decided)))
                else:
                    over.append(Outcome(known, verdict, (*by, decided)))
        return passed, over

    def _at(self, chain: Chain, side: Field) -> Box:
        """The case of the packets that meet the chain."""
        if chain.somewhere:
            return {f"@the device is the one of {chain.where}": point(1)}
        return {side: chain.device} if chain.device is not None else {}

    def _chain(self, chain: Chain, boxes: list[Box], depth: int) -> _Parts:
        if depth > MAX_JUMPS:
            raise TooComplex("chains call each other deeper than the kernel allows")
        got = _Parts([], [], boxes)
        for rule in runs(chain):
            on: list[Box] = []
            for box in got.on:
                parts = self._rule(chain, rule, box, depth)
                got.ended += parts.ended
                got.back += parts.back
                on += parts.on
            got.on = on
            if not on:
                break
            if len(on) > MAX_BOXES:
                raise TooComplex(TOO_MANY)
        return got

    def _rule(self, chain: Chain, found: Rule | Run, box: Box, depth: int) -> _Parts:
        got, live, before = _Parts([], [], []), [box], self._assigned
        rule, run = (found.merged, found) if isinstance(found, Run) else (found, None)
        here = _Here(chain, rule, got, depth, run)
        for step in rule.steps:
            self._spend(1 + len(live))
            live = self._step(here, step, live)
            if not live:
                break
        got.on += live
        if not got.ended and not got.back and self._assigned == before:
            got.on = [box]  # nothing was decided: what was parted is one class still
        return got

    def _step(self, here: _Here, step: Step, live: list[Box]) -> list[Box]:
        """What goes on to the next step."""
        match step:
            case When():
                hit, miss = self._when(here, step, live)
            case Masked():
                hit, miss = self._masked(here, step, live)
            case InSet():
                hit, miss = self._when(here, self._in_set(here, step), live)
            case Assign():
                self._assigned += 1
                return [assigned(box, step) for box in live]
            case Switch(cases):
                return self._switch(here, cases, live)
            case Do(ending):
                for box in live:
                    self._end(here, ending, box)
                return []
        here.got.on += miss
        return hit

    def _when(self, here: _Here, step: When, live: list[Box]) -> tuple[list[Box], list[Box]]:
        inside: list[Box] = []
        rest = live
        for case in step.cases:
            rest = self._part(self._asked(here, case), rest, inside)
            if not rest:
                break
        return (rest, inside) if step.negated else (inside, rest)

    def _in_set(self, here: _Here, step: InSet) -> When:
        """What is in a set that nobody has told depends on it."""
        (version,) = here.chain.families
        cases = self._rules.ipsets.cases(step.name, step.sides, version)
        if cases is not None:
            return When(cases, step.negated)
        kind = "?" if step.name in self._rules.ipsets else "@"
        return When(({f"{kind}it is in ipset {step.name} ({','.join(step.sides)})": point(1)},), step.negated)

    def _part(self, case: Box, boxes: list[Box], inside: list[Box]) -> list[Box]:
        """The rest; what is in the case is added to inside."""
        rest: list[Box] = []
        for box in boxes:
            self._spend(1 + sum(len(v) // 16 + len(box.get(f, ())) // 1024 for f, v in case.items()))
            hit, miss = split(box, case)
            rest += miss
            if hit is not None:
                inside.append(hit)
        if len(rest) + len(inside) > MAX_BOXES:
            raise TooComplex(TOO_MANY)
        return rest

    def _switch(self, here: _Here, cases: tuple[tuple[Box, Ending], ...], live: list[Box]) -> list[Box]:
        for case, ending in cases:
            inside: list[Box] = []
            live = self._part(self._asked(here, case), live, inside)
            for box in inside:
                self._end(here, ending, box)
            if not live:
                break
        return live

    def _masked(self, here: _Here, step: Masked, live: list[Box]) -> tuple[list[Box], list[Box]]:
        hit: list[Box] = []
        miss: list[Box] = []
        for box in live:
            values = points(box.get(step.field, universe(step.field)), 256)
            if values is None:  # any mark at all: it may match
                doubt = {f"?{step.field} & {step.mask:#x} == {step.value:#x}": point(int(not step.negated))}
                doubt = self._asked(here, doubt)
                inside, outside = split(box, doubt)
                hit += [inside] if inside is not None else []
                miss += outside
                continue
            yes = joined((n, n) for n in values if ((n & step.mask) == step.value) != step.negated)
            no = joined((n, n) for n in values if ((n & step.mask) == step.value) == step.negated)
            hit += [{**box, step.field: yes}] if yes else []
            miss += [{**box, step.field: no}] if no else []
        return hit, miss

    def _end(self, here: _Here, ending: Ending, box: Box) -> None:
        got = here.got
        if isinstance(ending, Jump):
            target = self._rules.chains.get((here.chain.table, ending.target))
            if target is None:
                got.ended.append((box, Verdict.UNCLEAR, here.decided(box)))
                return
            parts = self._chain(target, [box], here.depth + 1)
            got.ended += parts.ended
            (got.back if ending.final else got.on).extend(parts.back + parts.on)
        elif ending is Verdict.RETURN:
            got.back.append(box)
        elif ending is Verdict.CONTINUE:
            got.on.append(box)
        else:
            got.ended.append((box, ending, here.decided(box)))

    def _asked(self, here: _Here, case: Box) -> Box:
        """The case, with doubts of its own: a limit or a number at random that is asked twice may say two things."""
        if not any(name[0] in "?%" for name in case):
            return case
        self._questions += 1
        found = {f"{name}{AGAIN}{self._questions}" if name[0] in "?%" else name: case[name] for name in case}
        self.doubts |= {name: Decided(here.chain, here.rule) for name in found if name[0] in "?%"}
        return found

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise TooComplex("the rules are too many and too entangled to be followed")
