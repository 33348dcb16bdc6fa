"""Everything in one document for programs: the needs of both profiles, the hosts, and what the words mean.

Room: core.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ginnel.core.firewall import texts
from ginnel.core.firewall.needs import Level, Profile, Stability
from ginnel.core.firewall.plan import Facts, plan
from ginnel.core.firewall.plan_json import SCHEMA, host_json, plan_json

PROFILES: tuple[Profile, ...] = ("recommended", "pinned")
LEVELS = {
    Level.L3: "for firewalls that resolve the name and allow its addresses; no client sends it",
    Level.SNI: "for firewalls that look at the name in TLS; clients send it, or dial its addresses without asking DNS",
}
STABILITIES = {
    Stability.SLOW: "changes seldom",
    Stability.FAST: "changes from time to time without notice: refresh it by a program",
}


def spec_json(facts: Facts, program: str) -> dict[str, Any]:
    """`program`: name and version of who writes it."""
    return {
        "schema": SCHEMA,
        "program": program,
        "made": datetime.fromtimestamp(facts.made, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "source": facts.source,
        "tunnel_port": facts.fixed_port,
        "randomize_client_port": facts.randomize,
        "levels": {str(level): text for level, text in LEVELS.items()},
        "stabilities": {str(stability): text for stability, text in STABILITIES.items()},
        "pinning_warning": texts.PINNED,
        "problems": list(facts.problems),
        "plans": {profile: plan_json(plan(facts, profile)) for profile in PROFILES},
        "hosts": [host_json(host) for host in facts.hosts],
    }
