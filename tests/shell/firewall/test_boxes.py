"""Boxes on the way that answer in place of those who were asked: proxies, portals, filters that look inside."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.notes import PORTAL_THERE
from ginnel.core.firewall.report import Report
from ginnel.core.firewall.report_text import report_lines
from ginnel.core.firewall.tried import Asked, Server
from ginnel.core.firewall.verdict import Blocking
from ginnel.shell.firewall.verify import verify
from ginnel.shell.probe.opened import Patience
from tests.shell.firewall.test_walls import kinds, need
from tests.shell.firewall.walled import Walled, derp_map, v4, v6, walled
from tests.shell.probe.strangers import Authority, Handler, page, says, serving, silent, stranger

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces are made here"),
]
BOX = v4(53)
HTML = b"<html><body>please sign in</body></html>"
QUICK = Patience(connect=0.7, step=0.7, login=0.5)
CONTROL = "control.example.net"
STRIPPED = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def wall() -> Iterator[Walled]:
    with walled(2) as standing:
        yield standing


@pytest.fixture(autouse=True)
def _open(wall: Walled) -> Iterator[None]:
    yield
    wall.open()


Box = tuple[int, Handler, Callable[[], object] | None]
"""Port, what answers there, its TLS."""


def tried(wall: Walled, boxes: Sequence[Box] = (), servers: tuple[Server, ...] = (), **changes: object) -> Report:
    """With boxes that listen in the world."""

    async def trying() -> Report:
        async with AsyncExitStack() as stack:
            for (_, handler, tls), listener in zip(boxes, listening, strict=True):
                context = tls() if tls is not None else None
                await stack.enter_async_context(stranger(handler, context, listener))  # type: ignore[arg-type]
            asked = Asked(derp_map(2, **changes), servers, source="a test")
            return await verify(asked, mark=0, patience=QUICK)

    listening: list[socket.socket] = []
    for port, *_ in boxes:
        listening.append(wall.world.socket(socket.SOCK_STREAM, (BOX, port)))
    return wall.on_host(trying())


def test_a_proxy_that_intercepts_tls_is_told_with_its_issuer(wall: Walled, tmp_path: Path) -> None:
    proxy = Authority.make("Example Corp Inspection")
    wall.block(f"ip6 daddr {v6(1)} tcp dport 443 drop")
    wall.lead(f"ip daddr {v4(1)} tcp dport 443 dnat to {BOX}:8443")
    leaf = proxy.leaf("derp901a.example.net")
    report = tried(wall, [(8443, silent, lambda: serving(tmp_path, leaf))])
    assert Blocking.TLS_INTERCEPTION in kinds(report, "https")
    assert 'issued by "Example Corp Inspection"' in "\n".join(report_lines(report))
    assert [lost.region for lost in report.lost] == [901]


def test_a_block_page_in_place_of_a_relay_is_told(wall: Walled, tmp_path: Path) -> None:
    wall.block(f"ip6 daddr {v6(1)} tcp dport 443 drop")
    wall.lead(f"ip daddr {v4(1)} tcp dport 443 dnat to {BOX}:8443")
    blocked = says(page("403 Forbidden\r\nContent-Type: text/html", HTML))
    leaf = Authority.make("x").leaf("derp901a.example.net")
    report = tried(wall, [(8443, blocked, lambda: serving(tmp_path, leaf))], cert_name="", insecure_for_tests=True)
    assert Blocking.BLOCK_PAGE in kinds(report, "https")
    assert "a page with HTTP 403" in "\n".join(report_lines(report))


def test_a_captive_portal_is_told(wall: Walled) -> None:
    wall.block("ip6 daddr ::/0 tcp dport 80 drop")
    wall.lead(f"tcp dport 80 dnat to {BOX}:8080")
    report = tried(wall, [(8080, says(page("302 Found\r\nLocation: http://login.example/", HTML)), None)])
    assert Blocking.CAPTIVE_PORTAL in kinds(report, "portal")
    assert report.notes == (PORTAL_THERE,)


def test_a_proxy_that_strips_the_challenge_is_no_portal(wall: Walled) -> None:
    wall.block("ip6 daddr ::/0 tcp dport 80 drop")
    wall.lead(f"tcp dport 80 dnat to {BOX}:8080")
    report = tried(wall, [(8080, says(STRIPPED), None)])
    assert report.passed
    assert need(report, "portal").passed
    assert PORTAL_THERE not in report.notes


def test_a_path_that_loses_large_packets_is_told_as_such(wall: Walled) -> None:
    """The relay's certificate comes in one large segment; what is small gets through, and so does all with a small
    MSS."""
    wall.world.run(["ip", "link", "set", "eth0", "gso_max_segs", "1"])
    wall.host.run(
        ["nft", "-f", "-"],
        "table inet wall\ndelete table inet wall\ntable inet wall { chain in { type filter hook input priority 0;\n"
        "tcp sport 443 meta length > 700 drop\n}\n}\n",
    )
    report = tried(wall)
    assert kinds(report, "https") == {Blocking.MTU}
    assert "large packets are lost" in "\n".join(report_lines(report))


def test_a_dead_coordination_server_fails_https_and_no_relay(wall: Walled) -> None:
    wall.names[CONTROL] = (v4(2), "203.0.113.77")
    wall.block("ip daddr { 203.0.113.77 } drop", f"ip daddr {v4(2)} tcp dport 8443 reject with tcp reset")
    report = tried(wall, servers=(Server(Role.CONTROL, f"https://{CONTROL}:8443"),))
    assert not report.passed
    assert report.lost == ()
    assert need(report, "https").passed
    assert [reach.target.role for reach in need(report, "https-8443").failed] == [Role.CONTROL]
    assert kinds(report, "https-8443") == {Blocking.REFUSED, Blocking.SILENT_DROP}
