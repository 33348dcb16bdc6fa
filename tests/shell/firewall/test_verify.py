import time

import msgspec

from ginnel.core.firewall.report import Result
from ginnel.core.firewall.report_text import report_lines
from ginnel.core.firewall.tried import Asked
from ginnel.native import Relay
from ginnel.shell.firewall.verify import verify
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from tests.shell.probe.test_relay import PIN
from tests.shell.relays import Serve, port

BUDGET = 5.0
"""Seconds for a healthy host with 25 regions."""


def node(region: int, relay: Relay, **changes: object) -> DERPNode:
    made = DERPNode(
        name=f"{region}a", region_id=region, host_name="127.0.0.1", cert_name=PIN, ipv4="127.0.0.1", ipv6="none",
        derp_port=port(relay), stun_port=port(relay, "stun"),
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def asked(nodes: list[DERPNode], **more: object) -> Asked:
    regions = {
        one.region_id: DERPRegion(one.region_id, f"r{one.region_id}", f"City {one.region_id}", nodes=[one])
        for one in nodes
    }
    return Asked(DERPMap(regions=regions), port=None, source="a test", **more)  # type: ignore[arg-type]


async def test_a_healthy_host_with_25_regions_is_done_within_5_seconds(serve: Serve) -> None:
    nodes = [node(901 + number, serve()) for number in range(25)]
    progress: list[tuple[int, int]] = []
    began = time.monotonic()
    report = await verify(asked(nodes), told=lambda done, every: progress.append((done, every)), mark=0)
    took = time.monotonic() - began
    assert report.passed, "\n".join(report_lines(report))
    assert (report.lost, report.notes) == ((), ())
    assert {need.id for need in report.needs} >= {"tunnel"}
    assert len([check for check in report.checks if check.result is Result.PASSED]) >= 50
    assert progress[-1] == (50, 50)
    assert took < BUDGET
