"""Numbers for Prometheus and the page for administrators, on a listener of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_admin import AdminSide, serving
from ginnel.shell.relay_settings import RelayError
from tests.shell.derp_client import LIMIT, connect, login
from tests.shell.relays import NOW
from tests.shell.test_relay import settings


async def get(at: int, path: str, *, name: str = "127.0.0.1", host: str = "127.0.0.1") -> tuple[str, str]:
    """(head, body)."""
    async with connect(at, tls=None, host=host) as raw:
        await raw.send(f"GET {path} HTTP/1.1\r\nHost: {name}:{at}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await raw.all()).decode().partition("\r\n\r\n")
        return head, body


async def test_prometheus_reads_every_counter_by_its_name(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path, members_only=False), NOW)
    try:
        side = AdminSide(relay, more=lambda: {"verify.allowed": 7})
        async with (
            serving(side, "127.0.0.1", 0) as at,
            login(relay.native.addresses()["tls"][0][1], relay.key.raw) as alice,
        ):
            await alice.settle()
            head, body = await get(at, "/metrics")
        assert "text/plain; version=0.0.4" in head
        found = {sample.name: sample.value for row in text_string_to_metric_families(body) for sample in row.samples}
        counters = relay.native.counters()
        for name in counters:
            if ".now." not in name:
                assert f"ginnel_relay_{name.replace('.', '_')}_total" in found
        assert found["ginnel_relay_derp_login_total"] == 1
        assert found["ginnel_relay_clients"] == 1
        assert found["ginnel_relay_half_open"] == 0
        assert found["ginnel_relay_verify_allowed_total"] == 7
        assert found["ginnel_relay_certificate_expires_seconds"] == relay.leaf.expires
    finally:
        relay.close()


async def test_the_page_shows_who_is_there_by_short_keys_alone(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path, members_only=False), NOW)
    try:
        async with (
            serving(AdminSide(relay, interval=0.01), "127.0.0.1", 0) as at,
            login(relay.native.addresses()["tls"][0][1], relay.key.raw) as alice,
        ):
            _, body = await get(at, "/debug")
            source = alice.writer.get_extra_info("sockname")
        assert f"<td>127.0.0.1:{source[1]}</td>" in body
        assert "Clients: 1" in body
        assert "derp.login" in body
        assert relay.key.short() in body
        for secret in (alice.key.hex(), relay.key.raw.hex(), (tmp_path / "derp.key").read_text().strip()):
            assert secret not in body
    finally:
        relay.close()


async def test_what_comes_from_elsewhere_is_escaped(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path), NOW)
    try:
        side = AdminSide(relay, more=lambda: {"<script>alert(1)</script>": 1}, interval=0.0)
        async with serving(side, "127.0.0.1", 0) as at:
            head, body = await get(at, "/debug")
        assert "<script>" not in body
        assert "&lt;script&gt;" in body
        assert "content-security-policy: default-src 'none'" in head
    finally:
        relay.close()


async def test_a_page_elsewhere_whose_name_leads_here_sees_nothing(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path), NOW)
    try:
        async with serving(AdminSide(relay, interval=0.0), "127.0.0.1", 0) as at:
            for path in ("/debug", "/metrics"):
                head, _ = await get(at, path, name="evil.example")
                assert head.startswith("HTTP/1.1 403 ")
                head, _ = await get(at, path, name="localhost")
                assert head.startswith("HTTP/1.1 200 ")
    finally:
        relay.close()


async def test_the_page_is_for_this_machine_even_where_the_numbers_are_not(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path), NOW)
    try:
        async with serving(AdminSide(relay, interval=0.0), "0.0.0.0", 0) as at:
            ours = _own_address()
            if ours is None:
                pytest.skip("this machine has no address but loopback")
            head, _ = await get(at, "/metrics", name=ours, host=ours)
            assert head.startswith("HTTP/1.1 200 ")
            head, _ = await get(at, "/debug", name=ours, host=ours)
            assert head.startswith("HTTP/1.1 403 ")
    finally:
        relay.close()


def _own_address() -> str | None:
    from ginnel.shell.control.config import ConfigError, guess_url, host_of

    try:
        return host_of(guess_url())
    except ConfigError:
        return None


async def test_the_front_door_shows_none_of_it_and_a_taken_port_is_said(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path), NOW)
    try:
        from tests.shell.derp_client import tls_context

        async with connect(relay.native.addresses()["tls"][0][1], tls=tls_context()) as raw:
            await raw.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await raw.all()).startswith(b"HTTP/1.1 404 ")
        side = AdminSide(relay)
        async with asyncio.timeout(LIMIT), serving(side, "127.0.0.1", 0) as at:
            with pytest.raises(RelayError, match=rf"^cannot listen on 127\.0\.0\.1:{at} for metrics: "):
                async with serving(side, "127.0.0.1", at):
                    pass
    finally:
        relay.close()
