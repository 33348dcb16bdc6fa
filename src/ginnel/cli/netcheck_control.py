"""`ginnel netcheck --control`: the coordination server too, each step of it as a node goes: TLS, key, Noise.

Room: cli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ginnel.cli.local import ApiError, fail, local
from ginnel.cli.map_options import Named

if TYPE_CHECKING:
    from ginnel.core.firewall.report import Reach
    from ginnel.core.firewall.tried import Asked, Server
    from ginnel.shell.firewall.tunnel import TunnelSeen


def control_found(source: Named, path: str | None) -> dict[str, Any]:
    """The report's member `Control`: URL, Reached, Seconds of the first address that lets through, Problem ("" for
    none). Ends the command where there is no server to ask."""
    import asyncio

    from ginnel.core.firewall.tried import Asked
    from ginnel.shell.firewall.verify import verify
    from ginnel.wire.tailcfg import DERPMap

    server = _server(source, path)
    report = asyncio.run(verify(Asked(DERPMap(), (server,)), tunnel=_no_tunnel))
    reach = next(reach for need in report.needs for reach in need.reaches)
    return {"URL": server.url, "Reached": reach.worst is None, "Seconds": _seconds(reach), "Problem": _problem(reach)}


def control_line(found: dict[str, Any]) -> str:
    """As the report's other lines."""
    how = f"reached in {found['Seconds'] * 1000:.0f}ms" if found["Reached"] else f"not reached: {found['Problem']}"
    return f"\t* Control: {found['URL']} {how}"


def _server(source: Named, path: str | None) -> Server:
    from ginnel.core.firewall.needs import Role
    from ginnel.core.firewall.tried import Server
    from ginnel.shell.firewall.asked import by_daemon
    from ginnel.shell.firewall.facts import FactsError
    from ginnel.wire.derpmap import PIN

    if source.server:
        return Server(Role.CONTROL, source.server, pins=frozenset({source.pin.removeprefix(PIN).lower()} - {""}))
    try:
        known = [server for server in by_daemon(local(path).get).servers if server.role is Role.CONTROL]
    except (FactsError, ApiError) as error:
        fail(str(error))
    return known[0] if known else fail("--control: this machine knows no coordination server; name one by --server URL")


async def _no_tunnel(_: Asked) -> TunnelSeen:
    from ginnel.shell.firewall.tunnel import TunnelSeen

    return TunnelSeen((), "not asked for")


def _seconds(reach: Reach) -> float:
    from ginnel.core.firewall.report import Result

    passed = [check.seconds for check in reach.checks if check.address and check.result is Result.PASSED]
    return round(min(passed, default=0.0), 6)


def _problem(reach: Reach) -> str:
    from ginnel.core.firewall.report_text import check_line

    return "" if reach.worst is None else check_line(reach.worst)
