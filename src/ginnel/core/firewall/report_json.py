"""A report for programs.

Room: core. Evidence is told by the members that say something; bytes in hexadecimal digits.
"""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Any

from ginnel.core.firewall.evidence import Evidence
from ginnel.core.firewall.report import Check, Lost, NeedFound, Report
from ginnel.core.firewall.report_text import lost_line


def report_json(report: Report) -> dict[str, Any]:
    return {
        "passed": report.passed,
        "complete": report.complete,
        "limited": report.limited,
        "seconds": round(report.seconds, 3),
        "source": report.source,
        "tunnel": report.tunnel,
        "needs": [_need(need) for need in report.needs],
        "lost": [_lost(lost) for lost in report.lost],
        "notes": list(report.notes),
        "checks": [_check(check) for check in report.checks],
    }


def _need(need: NeedFound) -> dict[str, Any]:
    return {
        "id": need.id,
        "optional": need.optional,
        "passed": need.passed,
        "targets": len(need.reaches),
        "failed": [reach.target.label for reach in need.failed],
    }


def _lost(lost: Lost) -> dict[str, Any]:
    return {
        "region": lost.region,
        "code": lost.code,
        "name": lost.name,
        "nodes": [reach.target.node for reach in lost.reaches],
        "peers": list(lost.peers),
        "own_home": lost.own,
        "text": lost_line(lost),
    }


def _check(check: Check) -> dict[str, Any]:
    target = check.target
    return {
        "need": target.need,
        "role": str(target.role),
        "host": target.host,
        "node": target.node,
        "region": target.region,
        "address": check.address,
        "port": target.port,
        "transport": target.transport,
        "result": str(check.result),
        "blocking": str(check.blocking) if check.blocking is not None else None,
        "text": check.text,
        "seconds": round(check.seconds, 4),
        "evidence": _evidence(check.verdict.evidence) if check.verdict is not None else None,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    """step, ending and seconds always; others where they differ from their defaults."""
    told: dict[str, Any] = {}
    for member in dataclasses.fields(evidence):
        value = getattr(evidence, member.name)
        if member.name in ("step", "ending", "seconds") or value != member.default:
            told[member.name] = _plain(value)
    return told


def _plain(value: object) -> object:
    match value:
        case StrEnum():
            return str(value)
        case bytes():
            return value.hex()
        case tuple():
            return [str(one) for one in value]
        case float():
            return round(value, 6)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        case _:
            return value
