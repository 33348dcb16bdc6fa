"""Rules of nft's JSON in nft's own language, to be quoted: near enough to be found again, not to be loaded.

Room: core.
"""

from __future__ import annotations

import json
from typing import Any

from ginnel.core.firewall.lint.model import MAX_QUOTE

SILENT = ("==", "in")


def rule_text(rule: dict[str, Any]) -> str:
    parts = [statement(each) for each in rule.get("expr", [])[:40]]
    if comment := rule.get("comment"):
        parts.append(f'comment "{comment}"')
    text = " ".join(part for part in parts if part)
    return text if len(text) <= MAX_QUOTE else text[: MAX_QUOTE - 3] + "..."


def statement(each: Any) -> str:
    match each:
        case {"match": {"op": str(op), "left": left, "right": right}}:
            silent = op in SILENT and not (isinstance(left, dict) and "&" in left)
            return " ".join(part for part in (value(left), "" if silent else op, value(right)) if part)
        case {"vmap": {"key": key, "data": data}}:
            return f"{value(key)} vmap {value(data)}"
        case {"jump": {"target": target}} | {"goto": {"target": target}}:
            return f"{next(iter(each))} {target}"
        case {"reject": dict(how)}:
            return " ".join(str(part) for part in ("reject with", how.get("type"), how.get("expr")) if part)
        case {"limit": {"rate": rate, "per": per, **more}}:
            return f"limit rate {'over ' if more.get('inv') else ''}{rate}/{per}"
        case {"mangle": {"key": key, "value": new}}:
            return f"{value(key)} set {value(new)}"
        case {"counter": _} | {"xt": {"name": "comment"}}:
            return ""
        case {"xt": {"name": name}}:
            return f"(iptables: {name})"
        case {"log": _}:
            return "log"
        case {"set": {"op": op, "elem": element, "set": name, **more}} | {
            "map": {"op": op, "elem": element, "map": name, **more}
        }:
            return f"{op} {name} {{ {' '.join([value(element), *_inner(more)])} }}"
        case {"meter": {"name": name, "key": key, **more}}:
            return f"meter {name} {{ {' '.join([value(key), *_inner(more)])} }}"
        case {"ct count": {"val": most, **more}}:
            return f"ct count {'over ' if more.get('inv') else ''}{most}"
        case dict() if len(each) == 1:
            (name, inner), *_ = each.items()
            return str(name) if inner is None else f"{name} {value(inner)}"
    return value(each)


def _inner(more: dict[Any, Any]) -> list[str]:
    found = more.get("stmt", [])
    return [statement(each) for each in (found if isinstance(found, list) else [found])]


def value(each: Any) -> str:
    match each:
        case {"meta": {"key": name}}:
            return name if name in ("iif", "oif", "iifname", "oifname") else f"meta {name}"
        case {"payload": {"protocol": protocol, "field": name}}:
            return f"{protocol} {name}"
        case {"ct": {"key": name}}:
            return f"ct {name}"
        case {"fib": {"result": result, "flags": list(flags)}}:
            return f"fib {' . '.join(map(str, flags))} {result}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [low, high]}:
            return f"{value(low)}-{value(high)}"
        case {"set": list(elements)}:
            shown = ", ".join(_element(e) for e in elements[:6])
            return f"{{ {shown}{', ...' if len(elements) > 6 else ''} }}"
        case {"concat": list(parts)}:
            return " . ".join(value(part) for part in parts)
        case {"&": [left, mask]} | {"|": [left, mask]} | {"^": [left, mask]}:
            return f"{value(left)} {next(iter(each))} {value(mask)}"
        case {"map": {"key": key, "data": data}}:
            return f"{value(key)} map {value(data)}"
        case {"exthdr": {"name": name, **more}}:
            return " ".join(part for part in (name, str(more.get("field", ""))) if part)
        case {"tcp option": {"name": name, **more}}:
            return " ".join(part for part in ("tcp option", name, str(more.get("field", ""))) if part)
        case {"elem": {"val": inner}}:
            return value(inner)
        case list():
            return ",".join(value(part) for part in each[:6])
        case str() | int():
            return str(each)
    return json.dumps(each)[:MAX_QUOTE]


def _element(each: Any) -> str:
    match each:
        case [left, {**verdict}]:
            return f"{value(left)} : {statement(verdict)}"
    return value(each)
