"""The whole: evidence becomes a verdict, ranked causes and the JSON of `ginnel doctor --json`.

Room: core. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ginnel.core.doctor.causes import HEALTHY, Cause, Finding, Grade, ranked, verdict
from ginnel.core.doctor.evidence import Host, Pair
from ginnel.core.doctor.host import host_findings
from ginnel.core.doctor.pair import pair_findings, unexplained
from ginnel.core.doctor.pair_views import is_direct, still_searching

NO_HARM = (Cause.UDP_BLOCKED, Cause.STUN_BLOCKED, Cause.TUNNEL_PORT_BLOCKED)
NOT_THAT = 0.8
"""What costs a direct way leaves the relay: it is not why nothing passes at all."""


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
    path = "direct" if is_direct(pair) else "relay" if pair.ping.answered else "none"
    found = [*host_findings(pair.host), *pair_findings(pair)]
    if path == "none":
        found = [replace(one, confidence=one.confidence * NOT_THAT) if one.cause in NO_HARM else one for one in found]
    findings = ranked(found)
    said = verdict(findings)
    if said == HEALTHY and path != "direct" and not (path == "relay" and still_searching(pair)):
        findings = ranked([*found, *unexplained(pair)])
        said = verdict(findings)
    if path == "none" and said == Grade.DEGRADED:
        said = str(Grade.BROKEN)
    return Diagnosis(said, findings, path, path == "relay" and still_searching(pair))


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
