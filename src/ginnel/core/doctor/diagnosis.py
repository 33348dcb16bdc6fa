"""The whole: evidence becomes a verdict, ranked causes and the JSON of `ginnel doctor --json`.

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from ginnel.core.doctor.causes import HEALTHY, UNKNOWN, Cause, Finding, Fix, Grade, ranked, verdict
from ginnel.core.doctor.evidence import Host, Pair
from ginnel.core.doctor.host import host_findings
from ginnel.core.doctor.network_views import is_cut_off
from ginnel.core.doctor.own_firewall import uninvited
from ginnel.core.doctor.pair import pair_findings, unexplained
from ginnel.core.doctor.pair_views import is_direct, still_searching

MAY_PASS = (
    Cause.HARD_NAT_PAIR,
    Cause.HOST_FIREWALL,
    Cause.PEER_HOST_FIREWALL,
    Cause.TUNNEL_PORT_BLOCKED,
    Cause.PEER_TUNNEL_PORT_BLOCKED,
    Cause.HAIRPIN,
)
NOT_YET = 0.6
NO_HARM = (Cause.UDP_BLOCKED, Cause.STUN_BLOCKED, Cause.TUNNEL_PORT_BLOCKED, Cause.PEER_UDP_BLOCKED)
NOT_THAT = 0.8
"""What costs a direct way leaves the relay: it is not why nothing passes at all."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`path`: of a pair, "direct", "relay", "none"; "" for a machine alone. `searching`: a direct path may yet come.
    `title`: what there is to say first, "" for the usual."""

    verdict: str
    findings: tuple[Finding, ...]
    path: str = ""
    searching: bool = False
    title: str = ""


def of_host(host: Host) -> Diagnosis:
    findings = ranked([*host_findings(host), *uninvited(host)])
    said = verdict(findings)
    return Diagnosis(str(Grade.BROKEN) if said == Grade.DEGRADED and is_cut_off(host) else said, findings)


def of_pair(pair: Pair) -> Diagnosis:
    """What ails this machine counts too: it may be the pair's trouble, and is one in any case."""
    path = "direct" if is_direct(pair) else "relay" if pair.ping.answered else "none"
    searching = path == "relay" and still_searching(pair)
    found = [*host_findings(pair.host), *_weighed(pair, searching=searching)]
    if path == "none":
        found = [replace(one, confidence=one.confidence * NOT_THAT) if one.cause in NO_HARM else one for one in found]
    findings = ranked(found)
    if verdict(findings) in (HEALTHY, UNKNOWN) and path != "direct":
        findings = ranked([*found, *unexplained(pair, searching=searching)])
    said = verdict(findings)
    if path != "direct" and said in (HEALTHY, UNKNOWN):
        said = str(Grade.DEGRADED)
    if path == "none" and said == Grade.DEGRADED:
        said = str(Grade.BROKEN)
    return Diagnosis(said, findings, path, searching)


def of_stranger(host: Host, name: str, shown: Sequence[str] = ()) -> Diagnosis:
    """A peer of that name is not in this machine's map. shown: the names that are."""
    lines = [f"no machine of the mesh that {host.name} may see is called {name!r}"]
    if near := get_close_matches(name.lower(), shown):
        lines.append(f"did you mean {' or '.join(near)}?")
    lines.append("either there is none, or the policy lets neither of the two talk to the other, so that none is shown")
    at_server = Fix(
        "the server", "ginnel nodes list", "shows all machines, and `ginnel policy get` who may talk to whom"
    )
    strange = Finding(Cause.PEER_UNKNOWN, 0.9, tuple(lines), at_server)
    findings = ranked([strange, *host_findings(host)])
    title = f"no machine called {name!r} is shown to {host.name}"
    return Diagnosis(verdict(findings), findings, "none", title=title)


def _weighed(pair: Pair, *, searching: bool) -> list[Finding]:
    """While a direct way is looked for, what the search may overcome is no more than likely."""
    found = pair_findings(pair)
    if not searching:
        return found
    line = "the search for a direct way still goes on, and may succeed"
    return [
        replace(one, confidence=one.confidence * NOT_YET, evidence=(*one.evidence, line))
        if one.cause in MAY_PASS
        else one
        for one in found
    ]


def not_made(why: str) -> dict[str, Any]:
    """In place of a diagnosis: why there is none."""
    return {"verdict": UNKNOWN, "causes": [], "error": why}


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
