"""Terraform's language, as much of it as the cloud formats write: blocks, attributes, strings and lists.

Room: core. In a quoted string `${` and `%{` begin a template; none may come out of a text (HCL native syntax,
"Template Expressions").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ginnel.core.firewall.formats.notes import words


@dataclass(frozen=True, slots=True)
class Raw:
    """An expression of our own, such as `var.vpc_id`: written as it stands."""

    text: str


Value = str | int | bool | Raw | Sequence[str]


def block(head: str, attributes: Iterable[tuple[str, Value]], inner: Iterable[str] = ()) -> Iterator[str]:
    """Laid out as `terraform fmt` does. head: of our own words. inner: lines of blocks inside."""
    held = [(name, _value(value)) for name, value in attributes]
    widest = max((len(name) for name, _ in held), default=0)
    yield f"{head} {{"
    yield from (f"  {name:{widest}} = {value}" for name, value in held)
    yield from (f"  {line}" for line in inner)
    yield "}"


def _value(value: Value) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    return f"[{', '.join(quoted(text) for text in value)}]"


def quoted(text: str) -> str:
    """`words` leaves no quote, backslash, dollar, percent or brace, so nothing is left to escape."""
    return f'"{words(text, 2000)}"'


def variable(name: str, told: str, default: str | None = None) -> Iterator[str]:
    attributes: list[tuple[str, Value]] = [("type", Raw("string")), ("description", told)]
    if default is not None:
        attributes.append(("default", default))
    return block(f'variable "{name}"', attributes)
