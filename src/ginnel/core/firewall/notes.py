"""What is not as it should be and stops nobody yet: a dead family of addresses, a relay of several, names that lie.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.report import Check, NeedFound, Reach, Result
from ginnel.core.firewall.verdict import Blocking

PORTAL_OFF = "captive portal detection unavailable (tcp/80 filtered)"
PORTAL_THERE = "a captive portal holds up this network: open any web page in a browser and sign in there"
SHOWN = 5
SIBLING_TEXT = "relay {node} of region {region} is blocked ({kind}); others of the region carry on"


def notes_of(needs: tuple[NeedFound, ...]) -> tuple[str, ...]:
    return (*_portal(needs), *_families(needs), *_names(needs), *_siblings(needs))


def _portal(needs: tuple[NeedFound, ...]) -> Iterator[str]:
    """One true answer outvotes any number of odd ones: a portal stands before all relays alike."""
    checks = [check for need in needs if need.id == "portal" for reach in need.reaches for check in reach.checks]
    if not checks or any(check.result is Result.PASSED for check in checks):
        return
    if any(check.blocking is Blocking.CAPTIVE_PORTAL for check in checks):
        yield PORTAL_THERE
    elif any(check.result is Result.FAILED for check in checks):
        yield PORTAL_OFF


def _families(needs: tuple[NeedFound, ...]) -> Iterator[str]:
    for need in needs:
        if need.optional:
            continue
        checks = [check for reach in need.reaches for check in reach.checks if check.address]
        for family in (4, 6):
            own = [check for check in checks if check.family == family and check.result is not Result.UNTRIED]
            others = [check for check in checks if check.family not in (0, family) and check.result is Result.PASSED]
            if own and others and all(check.result is Result.FAILED for check in own):
                kind = own[0].blocking
                yield (
                    f"IPv{family} is dead for {need.id}: none of {len(own)} addresses answers ({kind}), though this "
                    f"machine has IPv{family}; each connection waits for it first"
                )


def _names(needs: tuple[NeedFound, ...]) -> Iterator[str]:
    wrong = [check for reach in _reached(needs) for check in reach.checks if _bad_name(check)]
    for check in wrong[:SHOWN]:
        yield f"{check.target.host}: {check.text}; the addresses of the map are used all the same"
    if len(wrong) > SHOWN:
        yield f"and {len(wrong) - SHOWN} more names like these"


def _bad_name(check: Check) -> bool:
    return not check.address and check.result is Result.FAILED


def _reached(needs: tuple[NeedFound, ...]) -> Iterator[Reach]:
    for need in needs:
        yield from (reach for reach in need.reaches if reach.result is Result.PASSED)


def _siblings(needs: tuple[NeedFound, ...]) -> Iterator[str]:
    relays = [
        reach
        for need in needs
        if need.id.partition("-")[0] == "https"
        for reach in need.reaches
        if reach.target.role is Role.RELAY
    ]
    reached = {reach.target.region for reach in relays if reach.result is Result.PASSED}
    for reach in relays:
        worst = reach.worst
        if worst is not None and reach.target.region in reached:
            kind = worst.blocking or worst.why
            yield SIBLING_TEXT.format(node=reach.target.node, region=reach.target.region, kind=kind)
