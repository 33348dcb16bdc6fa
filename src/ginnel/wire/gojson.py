"""JSON input by Go's rules, for structures that msgspec defines (encoding/json, `Unmarshal`).

Room: wire. No sockets, clocks, randomness or logs come in.

Go matches member names without regard to case, takes `null` for the zero value of any member, and skips what it does
not know. msgspec does the last of these only, so values are settled into the shape of their structure first. A `null`
stands for zero only where the structure has one: numbers, text, flags, lists and objects have, keys and times do not.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from ginnel.wire.read import Malformed

DEPTH_LIMIT = 32
TOKEN_LIMIT = 50_000

ABSENT = object()
_ZEROS: dict[Any, Callable[[], object]] = {int: int, float: float, str: str, bool: bool, list: list, dict: dict}


def loose(body: bytes | bytearray | memoryview) -> Any:
    """Plain values of a body that strangers may send: not deeper than DEPTH_LIMIT, not more than TOKEN_LIMIT values.

    Raises Malformed, msgspec.MsgspecError, UnicodeDecodeError or RecursionError."""
    text = bytes(body)
    if sum(map(text.count, (b",", b":", b"[", b"{"))) > TOKEN_LIMIT:
        raise Malformed(f"more than {TOKEN_LIMIT} values")
    value = msgspec.json.decode(text)
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise Malformed(f"deeper than {DEPTH_LIMIT} levels")


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def settle(kind: Any, value: object) -> object:
    """`value` with the member names of the structures that `kind` declares, without what they do not know, and with
    zeros for `null`. What does not fit is left for msgspec to refuse."""
    if kind is Any:
        return value
    if value is None:
        return _zero(kind)
    origin, arguments = _shape(kind)
    if origin is list and isinstance(value, list):
        return _settle_list(arguments[0], value)
    if origin is dict and isinstance(value, dict):
        return _settle_dict(arguments[1], value)
    if origin is msgspec.Struct and isinstance(value, dict):
        return _settle_struct(arguments[0], value)
    return value


def _settle_list(kind: Any, values: list[object]) -> list[object]:
    return [inner for inner in (settle(kind, value) for value in values) if inner is not ABSENT]


def _settle_dict(kind: Any, members: dict[str, object]) -> dict[str, object]:
    settled = ((name, settle(kind, value)) for name, value in members.items())
    return {name: value for name, value in settled if value is not ABSENT}


def _settle_struct(kind: type[msgspec.Struct], members: dict[str, object]) -> dict[str, object]:
    names, folded = _names(kind)
    result: dict[str, object] = {}
    for name, value in members.items():
        known = name if name in names else folded.get(name.lower())
        if known is None or (known != name and known in members):
            continue  # unknown, or an exact match is there and wins
        inner, has_default = names[known]
        settled = ABSENT if value is None and has_default else settle(inner, value)
        if settled is not ABSENT:
            result[known] = settled
    return result


def _zero(kind: Any) -> object:
    if type(None) in get_args(kind):
        return None
    zero = _ZEROS.get(get_origin(kind) or kind)
    return ABSENT if zero is None else zero()


@cache
def _shape(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """(list, (element,)), (dict, (key, value)), (Struct, (itself,)), or (None, ...) for what is taken as it comes. An
    optional kind has the shape of what it is when it is there."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        return _shape(inner[0]) if len(inner) == 1 else (None, ())
    if origin in (list, dict):
        return origin, arguments
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return msgspec.Struct, (kind,)
    return None, ()


@cache
def _names(kind: type[msgspec.Struct]) -> tuple[dict[str, tuple[Any, bool]], dict[str, str]]:
    """Member name -> (its kind, whether it has a default), and lower-case name -> member name."""
    kinds = get_type_hints(kind)
    names = {member.encode_name: (kinds[member.name], not member.required) for member in msgspec.structs.fields(kind)}
    return names, {name.lower(): name for name in names}
