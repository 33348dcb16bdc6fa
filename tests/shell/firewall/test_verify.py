import resource
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest

from ginnel.core.firewall.report import Result
from ginnel.core.firewall.report_text import report_lines
from ginnel.core.firewall.tried import Asked
from ginnel.core.firewall.verdict import Blocking
from ginnel.native import Relay
from ginnel.shell.firewall.verify import OUT_OF_TIME, verify
from ginnel.shell.probe.opened import Patience
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


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_many_relays_that_stall_do_not_use_up_the_descriptors(few_descriptors: None) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as never_accepts:
        at = never_accepts.getsockname()[1]
        stalling = [
            DERPNode(name=f"{n}a", region_id=n, host_name=f"127.0.0.{n}", ipv6="none", derp_port=at, stun_port=-1)
            for n in range(1, 200)
        ]
        never_accepts.close()
        with socket.create_server(("0.0.0.0", at), backlog=1024):
            report = await verify(asked(stalling), mark=0, patience=Patience(0.5, 0.1, 0.1))
    kinds = {check.blocking for check in report.checks}
    assert kinds == {Blocking.TIMEOUT_AFTER_CONNECT}
    assert len(report.lost) == 199


async def test_what_was_not_come_to_in_time_is_told_as_not_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as never_accepts:
        stalling = DERPNode(
            name="1a", region_id=1, host_name="127.0.0.1", ipv6="none", stun_port=-1,
            derp_port=never_accepts.getsockname()[1],
        )  # fmt: skip
        report = await verify(asked([stalling]), mark=0, within=0.2)
    assert (report.complete, report.passed) == (False, False)
    assert [(check.result, check.why) for check in report.checks] == [(Result.UNTRIED, OUT_OF_TIME)]


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
