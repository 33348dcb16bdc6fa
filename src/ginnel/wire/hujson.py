"""HuJSON: JSON with comments and trailing commas (tailscale/hujson: README.md; RFC 8259 for the rest).

Room: wire. Text becomes values that remember their place; no sockets, clocks, randomness or logs come in.

Strict where people err: a member named twice, an unpaired surrogate, a number out of range are refused, and every
error names its line and column, both from 1. Time is linear in the text.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator

from ginnel.wire.read import Malformed

MAX_TEXT = 4 << 20  # characters; ours: a policy of 10,000 rules has about 1.5 million
MAX_DEPTH = 64
MAX_DIGITS = 64

Plain = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None


class HujsonError(Malformed):
    """The text is not HuJSON. str() is one line with the place."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.line = line
        self.column = column
        self.message = message


class Value:
    """A value with its place: `data` is None, a bool, int, float or str, a list of values, or members by name."""

    __slots__ = ("column", "data", "line")

    def __init__(self, data: bool | int | float | str | list[Value] | dict[str, Member] | None, line: int, column: int):
        self.data = data
        self.line = line
        self.column = column

    def __repr__(self) -> str:
        return f"Value({self.data!r}, line={self.line}, column={self.column})"


class Member:
    """A member of an object; its place is that of the name."""

    __slots__ = ("column", "line", "name", "value")

    def __init__(self, name: str, value: Value, line: int, column: int) -> None:
        self.name = name
        self.value = value
        self.line = line
        self.column = column

    def __repr__(self) -> str:
        return f"Member({self.name!r}, {self.value!r})"


# Possessive quantifiers (`*+`) never go back, so that no text takes more than linear time.
_BLANK = r"(?:[ \t\r\n]++|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+\*/)*+"
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+(?![0-9A-Za-z_.+-])"
_TOKEN = re.compile(
    rf"{_BLANK}(?:(?P<string>{_STRING})|(?P<mark>[][{{}},:])|(?P<number>{_NUMBER})"
    r"|(?P<word>(?:true|false|null)(?![0-9A-Za-z_]))|(?P<end>\Z)|(?P<bad>))"
)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_BROKEN_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')

_WORD = re.compile(r"[-+.\w]+")


def parse(text: str, *, max_text: int = MAX_TEXT, max_depth: int = MAX_DEPTH) -> Value:
    """Read one value. Raises HujsonError."""
    if len(text) > max_text:
        raise HujsonError(1, 1, f"expected at most {max_text} characters, got {len(text)}")
    return _Parser(text, max_depth).document()


def plain(value: Value) -> Plain:
    """The value without places, as `json.loads` would give it."""
    if isinstance(value.data, list):
        return [plain(item) for item in value.data]
    if isinstance(value.data, dict):
        return {name: plain(member.value) for name, member in value.data.items()}
    return value.data


class _Parser:
    """One token of look-ahead: `kind` and `spelled` are that of the one at `start`."""

    def __init__(self, text: str, max_depth: int) -> None:
        self.text = text
        self.max_depth = max_depth
        self.lines = [0, *(at.end() for at in re.finditer("\n", text))]
        self.at = 0
        self.advance()

    def advance(self) -> None:
        found = _TOKEN.match(self.text, self.at)
        assert found is not None and found.lastgroup is not None, "the last alternative is empty, so it always matches"
        self.kind: str = found.lastgroup
        self.start, self.at = found.span(self.kind)
        self.spelled: str = found[self.kind]
        if self.kind == "bad":
            raise self.explain()

    def stands(self, mark: str) -> bool:
        return self.kind == "mark" and self.spelled == mark

    def place(self, at: int) -> tuple[int, int]:
        line = bisect_right(self.lines, at)
        return line, at - self.lines[line - 1] + 1

    def error(self, message: str, at: int | None = None) -> HujsonError:
        return HujsonError(*self.place(self.start if at is None else at), message)

    def unexpected(self, wanted: str) -> HujsonError:
        found = "the end of the text" if self.kind == "end" else _short(self.spelled)
        return self.error(f"expected {wanted}, found {found}")

    def document(self) -> Value:
        value = self.value(1)
        if self.kind != "end":
            raise self.unexpected("the end of the text")
        return value

    def value(self, depth: int) -> Value:
        line, column = self.place(self.start)
        match self.kind, self.spelled:
            case "string", _:
                return Value(self.string(), line, column)
            case "number", _:
                return Value(self.number(), line, column)
            case "word", word:
                self.advance()
                return Value(_WORDS[word], line, column)
            case "mark", "[":
                return Value(self.items(depth), line, column)
            case "mark", "{":
                return Value(self.members(depth), line, column)
        raise self.unexpected("a value")

    def string(self) -> str:
        token, start = self.spelled, self.start
        self.advance()
        text: str = json.loads(token) if "\\" in token else token[1:-1]
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise self.error("this string holds half of a surrogate pair", start)
        return text

    def number(self) -> int | float:
        token, start = self.spelled, self.start
        self.advance()
        number = float(token) if len(token) > MAX_DIGITS or not token.lstrip("-").isdigit() else int(token)
        if len(token) > MAX_DIGITS or number in (float("inf"), float("-inf")):
            raise self.error("this number is out of range", start)
        return number

    def separated(self, closing: str, depth: int) -> Iterator[None]:
        """Yields where an item is due; a comma may stand before the closing mark."""
        if depth >= self.max_depth:
            raise self.error(f"nested deeper than {self.max_depth}")
        self.advance()
        while not self.stands(closing):
            yield
            if self.stands(","):
                self.advance()
            elif not self.stands(closing):
                raise self.unexpected(f"',' or '{closing}'")
        self.advance()

    def items(self, depth: int) -> list[Value]:
        return [self.value(depth + 1) for _ in self.separated("]", depth)]

    def members(self, depth: int) -> dict[str, Member]:
        members: dict[str, Member] = {}
        for _ in self.separated("}", depth):
            if self.kind != "string":
                raise self.unexpected("a member's name in quotes")
            start, (line, column) = self.start, self.place(self.start)
            name = self.string()
            if name in members:
                raise self.error(f"{_short(name)} is here twice, first in line {members[name].line}", start)
            if not self.stands(":"):
                raise self.unexpected("':' after the name")
            self.advance()
            members[name] = Member(name, self.value(depth + 1), line, column)
        return members

    def explain(self) -> HujsonError:
        """What is wrong at a place where no token begins."""
        at, here = self.start, self.text[self.start : self.start + 2]
        if here == "/*":
            return self.error("this comment has no end: close it with */")
        if here[0] == '"':
            return self.broken_string(at)
        if here[0] == "'":
            return self.error('strings stand in double quotes: "..."')
        if here[0] == "\ufeff":
            return self.error("the text begins with a byte order mark: save it as UTF-8 without one")
        word = _WORD.match(self.text, at, at + 40)
        return self.error(f"expected JSON, found {_short(word[0] if word else here[0])}")

    def broken_string(self, at: int) -> HujsonError:
        found = _BROKEN_STRING.match(self.text, at)
        end = found.end() if found else at
        if end == len(self.text) or self.text[end] == "\n":
            return self.error("this string has no end: close it with a double quote")
        if self.text[end] == "\\":
            return self.error(f"no such escape: {_short(self.text[end : end + 2])}", end)
        return self.error("a control character stands in this string: write it as \\u and four digits", end)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
