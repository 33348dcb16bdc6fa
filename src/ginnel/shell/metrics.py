"""Counters as Prometheus reads them.

Room: shell. Rust counts; here its counters are read when somebody asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Numbers = Callable[[], Mapping[str, float]]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Collected(Collector):
    def __init__(self, prefix: str, counters: Numbers, gauges: Numbers) -> None:
        self._prefix, self._counters, self._gauges = prefix, counters, gauges

    def collect(self) -> Iterable[Metric]:
        for name, number in sorted(self._counters().items()):
            yield CounterMetricFamily(self._name(name), f"How often: {name}", value=number)
        for name, number in sorted(self._gauges().items()):
            yield GaugeMetricFamily(self._name(name), f"Now: {name}", value=number)

    def _name(self, name: str) -> str:
        return f"{self._prefix}_{re.sub('[^a-zA-Z0-9]', '_', name)}"


def exposition(prefix: str, counters: Numbers, gauges: Numbers) -> Callable[[], bytes]:
    """What gives the text of all numbers: `derp.drop.gone` becomes `<prefix>_derp_drop_gone_total`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(prefix, counters, gauges))
    return lambda: generate_latest(registry)
