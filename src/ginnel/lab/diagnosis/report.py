"""What a doctor said, and how good it was.

Room: lab.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Diagnosis(msgspec.Struct, frozen=True):
    """One `ginnel doctor` and its verdict.

    expected "" and what it said for a healthy network. named: whether the relay, port or company that is to blame
    stands in what was said of the cause; True where nothing is asked. mends: whether it sent people to the right
    machine with a command that helps; None where nothing is asked. ways: what both ends called the path just before.
    """

    at: str
    peer: str
    expected: str
    also: tuple[str, ...]
    informational: bool
    said: list[str]
    verdict: str
    top1: bool
    top3: bool
    named: bool
    right_verdict: bool
    seconds: float
    mends: bool | None = None
    ways: tuple[str, str] = ("", "")
    error: str = ""
    answer: dict[str, Any] = {}

    @property
    def right(self) -> bool:
        return self.top1 and self.named and self.right_verdict and self.mends is not False


class Case(msgspec.Struct, frozen=True):
    """One fault in one network. proof: how it was seen that the fault was in force. error: why nothing was judged."""

    name: str
    group: str
    about: str
    healthy: bool
    networks: dict[str, str]
    proved: bool
    proof: str
    seconds: float
    diagnoses: list[Diagnosis]
    error: str = ""


class Totals(msgspec.Struct, frozen=True):
    """Of diagnoses, each a command on one machine; faults and healthy networks are counted apart. mending: those whose
    way out is judged, mends: those that are right. silent: no verdict came, it crashed or hung."""

    faults: int
    healthy: int
    unproved: list[str]
    diagnoses: int
    top1: int
    top3: int
    named: int
    mending: int
    mends: int
    false_healthy: list[str]
    healthy_diagnoses: int
    false_alarms: list[str]
    silent: list[str]

    @property
    def good(self) -> bool:
        """What is asked of the doctor: 90 % first, 98 % among three, no fault called healthy, no wolf cried, an answer
        always."""
        return (
            not self.unproved
            and not self.silent
            and not self.false_healthy
            and not self.false_alarms
            and self.top1 >= 0.90 * self.diagnoses
            and self.top3 >= 0.98 * self.diagnoses
        )


class Accuracy(msgspec.Struct, frozen=True):
    seed: int
    cases: list[Case]
    totals: Totals


def totals(cases: list[Case]) -> Totals:
    of_faults = [(case, one) for case in cases if not case.healthy for one in case.diagnoses]
    of_healthy = [(case, one) for case in cases if case.healthy for one in case.diagnoses]
    return Totals(
        faults=sum(not case.healthy for case in cases),
        healthy=sum(case.healthy for case in cases),
        unproved=[case.name for case in cases if not case.proved or case.error],
        diagnoses=len(of_faults),
        top1=sum(one.top1 for _, one in of_faults),
        top3=sum(one.top3 for _, one in of_faults),
        named=sum(one.top1 and one.named for _, one in of_faults),
        mending=sum(one.mends is not None for _, one in of_faults),
        mends=sum(one.mends is True for _, one in of_faults),
        false_healthy=[
            name(case, one) for case, one in of_faults if one.verdict == "healthy" and not one.right_verdict
        ],
        healthy_diagnoses=len(of_healthy),
        false_alarms=[
            name(case, one)
            for case, one in (*of_healthy, *of_faults)
            if (case.healthy or one.informational) and not one.right_verdict
        ],
        silent=[name(case, one) for case, one in (*of_healthy, *of_faults) if not one.verdict],
    )


def name(case: Case, one: Diagnosis) -> str:
    return f"{case.name} ({one.at}: doctor {one.peer}".rstrip() + ")"


def accuracy(seed: int, cases: list[Case]) -> Accuracy:
    return Accuracy(seed, cases, totals(cases))
