"""The whole: evidence becomes a verdict, ranked causes and the JSON of `ginnel doctor --json`.

Room: core. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ginnel.core.doctor.causes import Finding, ranked, verdict
from ginnel.core.doctor.evidence import Host, Pair
from ginnel.core.doctor.host import host_findings
from ginnel.core.doctor.pair import is_direct, pair_findings, still_searching


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`path`: of a pair, "direct", "relay", "none"; "" for a machine alone. `searching`: a direct path may yet come."""

    verdict: str
    findings: tuple[Finding, ...]
    path: str = ""
    searching: bool = False


def of_host(host: Host) -> Diagnosis:
    findings = ranked(host_findings(host))
    return Diagnosis(verdict(findings), findings)


def of_pair(pair: Pair) -> Diagnosis:
    """What ails this machine counts too: it may be the pair's trouble, and is one in any case."""
    findings = ranked([*host_findings(pair.host), *pair_findings(pair)])
    path = "direct" if is_direct(pair) else "relay" if pair.ping.answered else "none"
    return Diagnosis(verdict(findings), findings, path, path == "relay" and still_searching(pair))


def members(diagnosis: Diagnosis) -> dict[str, Any]:
    """`verdict` and `causes`, best first, and what else was seen."""
    found: dict[str, Any] = {
        "verdict": diagnosis.verdict,
        "causes": [_cause(finding) for finding in diagnosis.findings],
    }
    return found | ({"path": diagnosis.path, "searching": diagnosis.searching} if diagnosis.path else {})


def _cause(finding: Finding) -> dict[str, Any]:
    fix = finding.fix
    return {
        "cause": str(finding.cause),
        "grade": str(finding.grade),
        "confidence": finding.confidence,
        "about": finding.about,
        "evidence": list(finding.evidence),
        "fix": {"where": fix.where, "command": fix.command, "also": fix.also} if fix is not None else None,
    }
