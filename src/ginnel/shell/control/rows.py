"""Records of the core as rows of the database, and back.

Room: shell. One pair of functions for each record; what a column holds is said in `tables.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

import msgspec
from sqlalchemy import RowMapping, Table

from ginnel.core.control.fleet_records import FleetRegion, Kept, RelayRecord, RelayTokenRecord
from ginnel.core.control.records import (
    Audit,
    KeyBinding,
    Node,
    PolicyText,
    PreauthKey,
    Released,
    Status,
    User,
)
from ginnel.shell.control import tables
from ginnel.wire.tailcfg import DERPNode
from ginnel.words import DiscoKey, MachineKey, NodeId, NodeKey, UserId, WallTime

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """Where a record goes. `number`: the counter that its id moves. `read` raises ValueError, TypeError or msgspec's
    errors for a row that says nothing."""

    table: Table
    write: Callable[[Any], Columns]
    read: Callable[[RowMapping], Any]
    number: Literal["user", "node", "key", "relay", "relay token", ""] = ""


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _list(text: str) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(text, type=list[str]))


def _wall(value: float | None) -> WallTime | None:
    return None if value is None else WallTime(value)


def _write_node(node: Node) -> Columns:
    return {
        "id": node.id,
        "machine": str(node.machine),
        "key": str(node.key),
        "user": node.user,
        "hostname": node.hostname,
        "label": node.label,
        "ipv4": node.ipv4,
        "ipv6": node.ipv6,
        "created": node.created,
        "expiry": node.expiry,
        "tags": _json(node.tags),
        "ephemeral": node.ephemeral,
        "renamed": node.renamed,
    }


def _read_node(row: RowMapping) -> Node:
    return Node(
        NodeId(row["id"]),
        MachineKey.parse(row["machine"]),
        NodeKey.parse(row["key"]),
        UserId(row["user"]),
        row["hostname"],
        row["label"],
        str(IPv4Address(row["ipv4"])),
        str(IPv6Address(row["ipv6"])),
        WallTime(row["created"]),
        _wall(row["expiry"]),
        _list(row["tags"]),
        row["ephemeral"],
        row["renamed"],
    )


def _write_status(status: Status) -> Columns:
    return {
        "id": status.id,
        "hostinfo": _json(status.hostinfo),
        "endpoints": _json(status.endpoints),
        "home": status.home,
        "disco": str(status.disco) if status.disco else None,
        "cap": status.cap,
        "last_seen": status.last_seen,
    }


def _read_status(row: RowMapping) -> Status:
    return Status(
        NodeId(row["id"]),
        msgspec.json.decode(row["hostinfo"], type=dict[str, Any]),
        _list(row["endpoints"]),
        row["home"],
        DiscoKey.parse(row["disco"]) if row["disco"] else None,
        row["cap"],
        _wall(row["last_seen"]),
    )


def _write_preauth(key: PreauthKey) -> Columns:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "digest": key.digest,
        "user": key.user,
        "created": key.created,
        "expiry": key.expiry,
        "reusable": key.reusable,
        "ephemeral": key.ephemeral,
        "tags": _json(key.tags),
        "used": key.used,
        "revoked": key.revoked,
    }


def _read_preauth(row: RowMapping) -> PreauthKey:
    return PreauthKey(
        row["id"],
        row["prefix"],
        row["digest"],
        UserId(row["user"]),
        WallTime(row["created"]),
        _wall(row["expiry"]),
        row["reusable"],
        row["ephemeral"],
        _list(row["tags"]),
        _wall(row["used"]),
        _wall(row["revoked"]),
    )


def _write_relay(relay: RelayRecord) -> Columns:
    return {
        "id": relay.id,
        "region": relay.region,
        "letter": relay.letter,
        "machine": str(relay.machine) if relay.machine is not None else None,
        "key": str(relay.key) if relay.key is not None else None,
        "node": _json(relay.node),
        "created": relay.created,
        "state": relay.state,
        "shown": _json(relay.shown) if relay.shown is not None else None,
        "drain_until": relay.drain_until,
        "mesh": relay.mesh,
    }


def _read_relay(row: RowMapping) -> RelayRecord:
    return RelayRecord(
        row["id"],
        row["region"],
        row["letter"],
        MachineKey.parse(row["machine"]) if row["machine"] else None,
        NodeKey.parse(row["key"]) if row["key"] else None,
        msgspec.json.decode(row["node"], type=DERPNode),
        WallTime(row["created"]),
        msgspec.convert(row["state"], Kept),
        msgspec.json.decode(row["shown"], type=DERPNode) if row["shown"] else None,
        _wall(row["drain_until"]),
        row["mesh"],
    )


FORMS: dict[type, Form] = {
    User: Form(
        tables.users,
        lambda u: {"id": u.id, "name": u.name, "created": u.created},
        lambda r: User(UserId(r["id"]), r["name"], WallTime(r["created"])),
        "user",
    ),
    Node: Form(tables.nodes, _write_node, _read_node, "node"),
    Status: Form(tables.node_status, _write_status, _read_status),
    PreauthKey: Form(tables.preauth_keys, _write_preauth, _read_preauth, "key"),
    KeyBinding: Form(
        tables.node_keys,
        lambda b: {"key": str(b.key), "machine": str(b.machine)},
        lambda r: KeyBinding(NodeKey.parse(r["key"]), MachineKey.parse(r["machine"])),
    ),
    Released: Form(
        tables.released_addresses,
        lambda a: {"ipv4": a.ipv4, "ipv6": a.ipv6, "at": a.at},
        lambda r: Released(str(IPv4Address(r["ipv4"])), str(IPv6Address(r["ipv6"])), WallTime(r["at"])),
    ),
    PolicyText: Form(  # never left out: a policy that says nothing denies all, none at all lets all talk
        tables.policies,
        lambda p: {"version": p.version, "text": p.text, "at": p.at},
        lambda r: PolicyText(r["version"], r["text"] if isinstance(r["text"], str) else "", WallTime(r["at"])),
    ),
    FleetRegion: Form(
        tables.relay_regions,
        lambda r: {field.name: getattr(r, field.name) for field in fields(FleetRegion)},
        lambda r: FleetRegion(**{field.name: r[field.name] for field in fields(FleetRegion)}),
    ),
    RelayRecord: Form(tables.relays, _write_relay, _read_relay, "relay"),
    RelayTokenRecord: Form(
        tables.relay_tokens,
        lambda t: {field.name: getattr(t, field.name) for field in fields(RelayTokenRecord)},
        lambda r: RelayTokenRecord(**{field.name: r[field.name] for field in fields(RelayTokenRecord)}),
        "relay token",
    ),
    Audit: Form(
        tables.audit,
        lambda a: {"at": a.at, "actor": a.actor, "verb": a.verb, "subject": a.subject, "detail": a.detail},
        lambda r: Audit(WallTime(r["at"]), r["actor"], r["verb"], r["subject"], r["detail"]),
    ),
}
