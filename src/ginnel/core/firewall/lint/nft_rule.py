"""One rule of nft's JSON as steps.

Room: core.
"""

from __future__ import annotations

from typing import Any

from ginnel.core.firewall.lint import nft_text
from ginnel.core.firewall.lint.fields import ALL, IP4, IP6, Box, Field
from ginnel.core.firewall.lint.ints import both, point
from ginnel.core.firewall.lint.model import Assign, Do, Ending, Jump, LintError, Masked, Step, Switch, Verdict, When
from ginnel.core.firewall.lint.nft_implied import asked_for
from ginnel.core.firewall.lint.nft_keys import UNTOUCHED, Key, Never, key, route_back
from ginnel.core.firewall.lint.nft_values import NotUnderstood, any_bit, bits, compared, numbers, one

ENDINGS = {"accept": Verdict.ACCEPT, "drop": Verdict.DROP, "return": Verdict.RETURN, "continue": Verdict.CONTINUE,
           "reject": Verdict.REJECT, "masquerade": Verdict.ACCEPT, "snat": Verdict.ACCEPT}  # fmt: skip
PASSING = frozenset({"counter", "log", "last", "flow", "ct helper", "ct timeout", "ct expectation", "secmark", "dup"})
ELSEWHERE = frozenset({"queue", "dnat", "redirect", "tproxy", "fwd", "synproxy"})
RATES = frozenset({"limit", "quota", "ct count"})
XT_PASSING = frozenset({"comment", "LOG", "NFLOG", "MASQUERADE", "SNAT", "TCPMSS", "CHECKSUM", "AUDIT"})
NO_CASE: tuple[Box, ...] = ()


class Sets:
    """Named sets and maps of all tables, by (table, name)."""

    def __init__(self) -> None:
        self._all: dict[str, dict[str, dict[str, Any]]] = {}
        self.size = 0

    def add(self, found: dict[str, Any]) -> None:
        self._all.setdefault(f"{found['family']} {found['table']}", {})[str(found["name"])] = found
        self.size += len(found.get("elem", []))

    def of(self, table: str) -> dict[str, dict[str, Any]]:
        return self._all.get(table, {})


Named = dict[str, dict[str, Any]]


def steps(expressions: Any, text: str, named: Named) -> tuple[Step, ...]:
    """text: the rule's, by which what is not understood is named."""
    if not isinstance(expressions, list):
        raise LintError("a rule has no expressions")
    got: list[Step] = []
    for each in expressions:
        if not isinstance(each, dict) or not each:
            raise LintError("a rule has an expression that is none")
        got += _statement(each, text, named)
    return tuple(got)


def _statement(each: dict[str, Any], text: str, named: Named) -> list[Step]:
    name = next(iter(each))
    if name == "reject":
        return [*_rejectable(each[name]), Do(Verdict.REJECT)]
    if name in ENDINGS:
        return [Do(ENDINGS[name])]
    if name in PASSING:
        return []
    if name in RATES:
        return [doubt("%", nft_text.statement(each))]
    if name in ELSEWHERE:
        return [Do(Verdict.UNCLEAR)]
    try:
        return [*asked_for(each), *_more(name, each, text, named)]
    except Never:
        return [When(NO_CASE)]


def _more(name: str, each: dict[str, Any], text: str, named: Named) -> list[Step]:
    if name in ("set", "map", "meter"):
        return [doubt("%", nft_text.statement(each))] if _limits(each[name]) else []
    match each:
        case {"jump": {"target": str(target)}}:
            return [Do(Jump(target))]
        case {"goto": {"target": str(target)}}:
            return [Do(Jump(target, final=True))]
        case {"match": {"op": str(op), "left": left, "right": right}}:
            return _match(op, left, right, each, named)
        case {"vmap": {"key": left, "data": data}}:
            return _vmap(left, data, each, named)
        case {"mangle": {"key": left, "value": value}}:
            return _mangle(left, value)
        case {"notrack": _}:
            return [Assign(Field.CT_STATE, values=point(4))]
        case {"xt": {"name": str(module)}} if module in XT_PASSING:
            return []
        case {"xt": {"type": "match" | "watcher"}}:
            return [doubt("?", f"{text}/{nft_text.statement(each)}")]
    return [Do(Verdict.UNCLEAR)]


REJECTS = {"icmp": {Field.NFPROTO.value: point(IP4)}, "icmpv6": {Field.NFPROTO.value: point(IP6)},
           "tcp reset": {Field.L4PROTO.value: point(6)}}  # fmt: skip


def _rejectable(how: Any) -> list[Step]:
    """nft leaves out of its JSON what the way of rejecting says already: `meta nfproto ipv6`."""
    kind = how.get("type") if isinstance(how, dict) else None
    return [When((REJECTS[kind],))] if kind in REJECTS else []


def _limits(found: Any) -> bool:
    """Whether elements of it have a limit of their own, by which it goes on or not."""
    inner = found.get("stmt") if isinstance(found, dict) else None
    return any(isinstance(one, dict) and one.keys() & RATES for one in (inner if isinstance(inner, list) else [inner]))


def doubt(kind: str, text: str) -> When:
    """A match that may go both ways, the same for the same text."""
    return When(({f"{kind}{text}": point(1)},))


def _match(op: str, left: Any, right: Any, each: dict[str, Any], named: Named) -> list[Step]:
    try:
        settled = _settled(op, left, right)
        if settled is not None:
            return [] if settled else [When(NO_CASE)]
        if isinstance(left, dict) and "&" in left:
            return _masked(op, left["&"], right)
        cases, taken = _cases(op, left, right, named)
    except Never:
        return [When(NO_CASE)]
    except NotUnderstood:
        return [doubt("?", nft_text.statement(each))]
    if op != "!=":
        return [When(cases)]
    return [When((taken,)), When(cases, negated=True)] if taken else [When(cases, negated=True)]


def _settled(op: str, left: Any, right: Any) -> bool | None:
    """Matches whose answer follows from the packet's being ours."""
    back = route_back(left, right)
    if back is not None:
        return back if op == "==" else not back
    match left:
        case {"ct": {"key": "status"}}:
            wanted = set(right if isinstance(right, list) else [right])
            if op == "in" and wanted <= UNTOUCHED:
                return False
    return None


def _cases(op: str, left: Any, right: Any, named: Named) -> tuple[tuple[Box, ...], Box]:
    """(the cases of the positive match, what holds besides)."""
    keys = _keys(left)
    besides = {field: values for _, box in keys for field, values in box.items()}
    if isinstance(right, str) and right.startswith("@"):
        elements = _elements(right, named)
    elif isinstance(right, dict) and isinstance(right.get("set"), list):
        elements = right["set"]
    else:
        elements = None
    if len(keys) > 1:
        return tuple(_concat(keys, e) for e in (elements if elements is not None else [right])), besides
    field = keys[0][0]
    if elements is not None:
        values = numbers(field, {"set": elements})
    elif op == "in":
        values = any_bit(field, right)
    elif op in ("<", ">", "<=", ">="):
        values = compared(field, op, right)
    elif field == Field.TCP_FLAGS:
        values = point(bits(field, right))
    else:
        values = numbers(field, right)
    return (merged(besides, {field: values}),) if values else NO_CASE, besides


def _keys(left: Any) -> list[Key]:
    match left:
        case {"concat": [*parts]}:
            return [key(part) for part in parts]
    return [key(left)]


def merged(one: Box, other: Box) -> Box:
    """Both must hold."""
    got = dict(one)
    for field, values in other.items():
        have = got.get(field)
        got[field] = values if have is None else both(values, have)
    return got


def _concat(keys: list[Key], element: Any) -> Box:
    match element:
        case {"elem": {"val": inner}}:
            return _concat(keys, inner)
        case {"concat": [*parts]} if len(parts) == len(keys):
            box: Box = {}
            for (field, besides), part in zip(keys, parts, strict=True):
                box = merged(box, merged(besides, {field: numbers(field, part)}))
            return box
    raise NotUnderstood


def _elements(name: str, named: Named) -> list[Any]:
    found = named.get(name[1:])
    if found is None or _limits(found):
        raise NotUnderstood
    elements = found.get("elem", [])
    if not isinstance(elements, list):
        raise NotUnderstood
    return elements


def _masked(op: str, sides: Any, right: Any) -> list[Step]:
    match sides:
        case [left, mask]:
            field, besides = key(left)
        case _:
            raise NotUnderstood
    if field not in (Field.TCP_FLAGS, Field.MARK, Field.CT_MARK) or op not in ("==", "!=", "in"):
        raise NotUnderstood
    wide, wanted = bits(field, mask), bits(field, right)
    before: list[Step] = [When((besides,))] if besides else []
    if op == "in":
        return [*before, Masked(field, wide & wanted, 0, negated=True)]
    return [*before, Masked(field, wide, wanted, op == "!=")]


def _vmap(left: Any, data: Any, each: dict[str, Any], named: Named) -> list[Step]:
    try:
        keys = _keys(left)
        pairs = _elements(data, named) if isinstance(data, str) else data["set"]
        return [Switch(tuple(_pair(keys, pair) for pair in sorted(pairs, key=_is_rest)))]
    except Never:
        return []
    except (NotUnderstood, KeyError):
        return [doubt("?", nft_text.statement(each)), Do(Verdict.UNCLEAR)]


def _is_rest(pair: Any) -> bool:
    """nft's catch-all element comes after all others."""
    return isinstance(pair, list) and bool(pair) and pair[0] in ("*", {"elem": {"val": "*"}})


def _pair(keys: list[Key], pair: Any) -> tuple[Box, Ending]:
    match pair:
        case [left, dict(verdict)]:
            ending = _ending(verdict)
        case _:
            raise NotUnderstood
    if _is_rest(pair):
        return {}, ending
    if len(keys) > 1:
        return _concat(keys, left), ending
    field, besides = keys[0]
    return merged(besides, {field: numbers(field, left)}), ending


def _ending(verdict: dict[str, Any]) -> Ending:
    match verdict:
        case {"jump": {"target": str(target)}}:
            return Jump(target)
        case {"goto": {"target": str(target)}}:
            return Jump(target, final=True)
    name = next(iter(verdict), "")
    if name not in ENDINGS:
        raise NotUnderstood
    return ENDINGS[name]


def _mangle(left: Any, value: Any) -> list[Step]:
    try:
        field, _ = key(left)
    except (NotUnderstood, Never):
        return []  # dscp, ttl, priority ...: nothing that decides
    if field not in (Field.MARK, Field.CT_MARK):
        return []
    match value:
        case {"|": [before, int(new)]} if before == left:
            return [Assign(field, mask=new, value=new)]
        case {"&": [before, int(kept)]} if before == left:
            return [Assign(field, mask=~kept & 0xFFFF_FFFF, value=0)]
    try:
        return [Assign(field, value=one(field, value))]
    except NotUnderstood:
        return [Assign(field, values=ALL[field])]
