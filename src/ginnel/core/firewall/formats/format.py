"""A format: what it is called, on which level it works, how it comments, and how a plan is written in it.

Room: core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ginnel.core.firewall.formats.check import CannotExpress, check
from ginnel.core.firewall.formats.notes import preamble
from ginnel.core.firewall.needs import Plan

Reach = Literal["L3", "L3/FQDN", "SNI/FQDN"]
"""L3: addresses. L3/FQDN: names that the firewall itself resolves to addresses. SNI/FQDN: names that clients say."""

SAID = {
    "L3": "L3, addresses and ports",
    "L3/FQDN": "L3/FQDN, names that the firewall resolves to addresses",
    "SNI/FQDN": "SNI/FQDN, names that clients say in TLS or to a proxy",
}


def _none(plan: Plan) -> Iterable[str]:  # noqa: ARG001
    return ()


@dataclass(frozen=True, slots=True)
class Format:
    """comment: how a comment line begins, "" where the notes stand in a member of their own or (`bare`) nowhere.
    apply: how to load it, one line; again: what a second time does; undo: how it is taken back. Both "" where nothing
    is loaded. remarks: what this format widens or leaves out of a given plan."""

    name: str
    about: str
    level: Reach
    comment: str
    apply: str
    body: Callable[[Plan], str]
    again: str = ""
    undo: str = ""
    remarks: Callable[[Plan], Iterable[str]] = _none
    bare: bool = False

    def render(self, plan: Plan) -> str:
        """The whole text, ending in a newline. Raises CannotExpress."""
        return self.body(check(plan))

    def inbound(self, plan: Plan) -> str:
        """The rules that let in, alone: what helps a relayed pair. Raises CannotExpress where there are none."""
        needs = tuple(need for need in plan.needs if need.direction == "in")
        if not needs:
            raise CannotExpress("the plan lets nothing in, for want of a fixed port: give --port, or the daemon one")
        return self.render(replace(plan, needs=needs))

    def notes(self, plan: Plan) -> list[str]:
        """What stands at the top."""
        first = [f"ginnel firewall rules, format {self.name}: {self.about}", f"level: {SAID[self.level]}"]
        steps = (("apply", self.apply), ("again", self.again), ("remove", self.undo))
        last = [f"{step}: {told}" for step, told in steps if told]
        return [*first, *preamble(plan), *(f"note: {remark}" for remark in self.remarks(plan)), *last]
