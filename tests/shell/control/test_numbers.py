"""The server's numbers, as Prometheus reads them."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.shell.control.fleet_world import eventually, fleet_server, joined, nodes_of, token_for
from tests.shell.test_relay_admin import get


async def numbers(port: int) -> dict[str, float]:
    _, body = await get(port, "/metrics")
    return {sample.name: sample.value for row in text_string_to_metric_families(body) for sample in row.samples}


async def test_the_fleet_the_zone_and_the_logs_are_counted_beside_the_relay(tmp_path: Path) -> None:
    settings = {
        "metrics": "127.0.0.1:0",
        "log_host": {"names": ["log.example.com"]},
        "relay_dns": {"zone": "relays.example.com", "listen": ["127.0.0.1:0"]},
    }
    async with fleet_server(tmp_path / "server", **settings) as server:
        async with joined(tmp_path / "relay", await token_for(server)):
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
            found = await numbers(server.metrics_port)
        assert found["ginnel_server_relays_in_map"] == 2
        assert found["ginnel_server_relays_out"] == 0
        assert found["ginnel_server_logs_full"] == 0
        assert found["ginnel_relay_clients"] >= 0
        assert server.relay_dns is not None
        server.relay_dns.counters["answered"] += 3
        assert (await numbers(server.metrics_port))["ginnel_server_relay_dns_answered_total"] >= 3


async def test_a_server_without_a_relay_has_numbers_as_well(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, relay=False, metrics="127.0.0.1:0") as server:
        _, body = await get(server.metrics_port, "/metrics")
        assert "ginnel_server_nodes 0.0" in body
        assert "ginnel_relay" not in body
