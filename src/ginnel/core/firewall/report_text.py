"""A report in words: a row for each need, then what is wrong, most important first, then what to know.

Room: core. Names come from the map, from other machines and from certificates: control characters are taken out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.report import Check, Lost, NeedFound, Reach, Report, Result, blockings

DETAILS = 40
"""Failed targets that are shown; the JSON has all of them."""
NAMES = 20
NOTES = 12
WORDS = {True: "ok", False: "FAILED", None: "not tried"}


def report_lines(report: Report) -> Iterator[str]:
    """Without line ends."""
    yield f"Tried from this host: {clean(report.source)}; the tunnel {clean(report.tunnel)}."
    yield ""
    for need in report.needs:
        yield need_line(need)
    yield from _section("Regions out of reach", [lost_line(lost) for lost in report.lost])
    failed = [line for need in report.needs for line in _failed_lines(need)]
    yield from _section("What failed or could not be tried", failed, DETAILS)
    yield from _section("To know", report.notes, NOTES)
    yield ""
    yield verdict_line(report)


def _section(title: str, lines: Sequence[str], most: int = DETAILS) -> Iterator[str]:
    if lines:
        yield ""
        yield f"{title}:"
        yield from (f"  {clean(line)}" for line in lines[:most])
        if len(lines) > most:
            yield f"  and {len(lines) - most} more: --json has them all"


def need_line(need: NeedFound) -> str:
    word = WORDS[need.passed] if not need.optional or need.passed is not False else "limited"
    optional = " (optional)" if need.optional else ""
    return f"{word:9}  {need.id:10} {clean(_reached(need))}{optional}"


def _reached(need: NeedFound) -> str:
    if not need.reaches:
        return need.why or "nothing to try it with"
    passed = len(need.reaches) - len(need.failed)
    families = _families(need.reaches)
    if need.id == "tunnel":
        port = need.reaches[0].target.port
        where = f"UDP from port {port}" if port else "UDP from any port"
        return f"{where} to anywhere" + (f", {families}" if passed else _kinds(need))
    servers = sorted({str(reach.target.role) for reach in need.reaches if reach.target.role is not Role.RELAY})
    relays = sum(reach.target.role is Role.RELAY for reach in need.reaches)
    what = [*servers, *([f"{relays} relay{'s' * (relays > 1)}"] if relays else [])]
    to = f"to {', '.join(what)}" + (f", {families}" if families else "")
    return to if not need.failed else f"{to}: {len(need.failed)} of {len(need.reaches)} not reached{_kinds(need)}"


def _kinds(need: NeedFound) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in blockings(need.failed))
    return f" ({kinds})" if kinds else ""


def _families(reaches: Sequence[Reach]) -> str:
    found = {check.family for reach in reaches for check in reach.checks if check.result is Result.PASSED}
    return " and ".join(f"IPv{family}" for family in sorted(found - {0}))


def lost_line(lost: Lost) -> str:
    """`region 902 "fra" (node 902a) blocked: a, b, c cannot be relayed to`."""
    nodes = [reach.target.node for reach in lost.reaches]
    named = f"node{'s' * (len(nodes) > 1)} {_listed(nodes)}"
    whom = f"{_listed(lost.peers)} cannot be relayed to" if lost.peers else "no machine has its home there now"
    if lost.own:
        whom += "; it is this machine's own home, so nobody can relay to it"
    untried = all(reach.result is Result.UNTRIED for reach in lost.reaches)
    how = "out of reach" if untried else "blocked"
    worst = next((worst for reach in lost.reaches if (worst := reach.worst) is not None), None)
    why = f" ({worst.blocking or worst.why})" if worst is not None else ""
    return clean(f'region {lost.region} "{lost.code}" ({named}) {how}{why}: {whom}')


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES])
    return shown if len(names) <= NAMES else f"{shown} and {len(names) - NAMES} more"


def _failed_lines(need: NeedFound) -> Iterator[str]:
    if need.optional:
        return
    for reach in need.failed:
        for check in reach.checks:
            if check.result is not Result.PASSED:
                yield f"{need.id:8} {check_line(check)}"


def check_line(check: Check) -> str:
    target = check.target
    where = f"[{check.address}]" if ":" in check.address else check.address
    if target.need == "tunnel":  # its port is the one that it comes from
        return f"UDP to {where or 'anywhere'}: {_kind(check)}{check.text}"
    at = f" at {where}:{target.port}" if check.address else ""
    region = f" (region {target.region})" if target.region else ""
    return f"{target.label}{region}{at}: {_kind(check)}{check.text}"


def _kind(check: Check) -> str:
    return f"{check.blocking}: " if check.blocking is not None else ""


def verdict_line(report: Report) -> str:
    took = f"{report.seconds:.1f} s"
    if report.passed:
        return f"All that {'was asked for' if report.limited else 'the mesh needs'} passes ({took})."
    failed = [need.id for need in report.needs if not need.optional and need.passed is not True]
    if not report.complete:
        return f"Not everything could be tried within {took}."
    return f"Not everything that the mesh needs passes: {', '.join(failed) or 'a region is out of reach'} ({took})."


def clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
