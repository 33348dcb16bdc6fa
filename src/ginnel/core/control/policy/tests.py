"""The policy's own `tests`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ginnel.core.control.policy.model import Policy, PolicyNode


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that does not hold. str() is one line, `policy line 30: test: ...`."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"policy line {self.line}: {self.message}"


def run_tests(policy: Policy, nodes: Iterable[PolicyNode]) -> list[Failure]:
    raise NotImplementedError
