"""Plans and hosts as JSON.

Room: core. Members are added, never renamed, while SCHEMA stays.
"""

from __future__ import annotations

from typing import Any

from ginnel.core.firewall.needs import Host, Need, Plan

SCHEMA = 1


def plan_json(plan: Plan) -> dict[str, Any]:
    """`refresh_by`: RFC 3339 date or null; `to` of a need: "any" or names and addresses of hosts."""
    return {
        "schema": SCHEMA,
        "profile": plan.profile,
        "source": plan.source,
        "warnings": list(plan.warnings),
        "refresh_by": plan.refresh_by or None,
        "needs": [need_json(need) for need in plan.needs],
    }


def need_json(need: Need) -> dict[str, Any]:
    return {
        "id": need.id,
        "direction": need.direction,
        "protocol": need.transport,
        "source_port": need.source_port or "any",
        "port": need.port or "any",
        "to": [host.name or str(host.addresses[0]) for host in need.hosts] or "any",
        "families": [f"IPv{family}" for family in need.families],
        "optional": need.optional,
        "why": need.why,
        "breaks": need.breaks,
        "looks_like": need.looks_like,
    }


def host_json(host: Host) -> dict[str, Any]:
    """`region` and `node` are null where the host is no relay; `node` also for a region's `-all` name."""
    return {
        "name": host.name or None,
        "level": str(host.level),
        "role": str(host.role),
        "ports": [str(service) for service in host.services],
        "ipv4": [str(address) for address in host.addresses if address.version == 4],
        "ipv6": [str(address) for address in host.addresses if address.version == 6],
        "stability": str(host.stability),
        "region": host.region or None,
        "region_code": host.region_code or None,
        "node": host.node or None,
        "needed_for": host.needed_for,
        "breaks": host.breaks,
    }
