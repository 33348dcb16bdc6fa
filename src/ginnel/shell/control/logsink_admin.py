"""What `ginnel logs` asks the server: pages of lines behind a stamp, and who has lines here.

Room: shell. A page is bounded and names the stamp to go on from, so neither side holds more than one, however long the
logs are; who follows asks again, and the answer waits until there is something.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ginnel.core.control.records import Status
from ginnel.core.control.registry import Refused, Registry
from ginnel.core.logs.quiet import may_upload
from ginnel.core.logs.upload import is_log_id
from ginnel.shell.control.admin import Admin, Verb
from ginnel.shell.control.config import LogHostConfig
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.front import source_of
from ginnel.shell.control.keys import StateError
from ginnel.shell.control.logsink import Claims, Frame, LogHost, TooManyFollowers, stamp_of
from ginnel.wire.tailcfg import stamp
from ginnel.words import NodeId, WallTime

MEMBER = "BackendLogID"
ABSENT = ("", 0, msgspec.UNSET)
OFF = 'no log host is configured: name one in the server\'s settings, [log_host] names = ["log.example.com"]'


class ReadLogs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`node`: a name, a number or a log id, "" for all. `since`: seconds before now, None for all that is kept.
    `after`: the stamp to go on from. `wait`: seconds, for who follows."""

    node: str = ""
    since: float | None = None
    after: int | None = None
    wait: float = 0.0


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


def start_log_host(config: LogHostConfig, directory: Path, coordinator: Coordinator) -> LogHost | None:
    """None: not configured, and every client is told to upload nothing. Raises StateError."""
    if not config.names:
        return None
    registry = coordinator.registry
    host = LogHost(config, directory, lambda: claims_of(registry), source_of)
    try:
        host.open()
    except OSError as error:
        raise StateError(f"cannot keep logs in {directory}: {error.strerror}; make it usable, or empty") from None

    def allowed(node_id: NodeId) -> bool:
        status = registry.status.get(node_id, Status(node_id))
        return may_upload(status.hostinfo, host.has_from, quiet_others=config.quiet_others)

    coordinator.mapper.may_upload = allowed
    return host


def claims_of(registry: Registry) -> Claims:
    """What nodes say of themselves: two may name the same id."""
    found: dict[str, list[str]] = {}
    for node in registry.nodes.values():
        log_id = log_id_of(registry, node.id)
        if log_id:
            found.setdefault(log_id, []).append(node.label)
    return found


def log_id_of(registry: Registry, node_id: Any) -> str:
    status: Status | None = registry.status.get(node_id)
    log_id = status.hostinfo.get(MEMBER, "") if status is not None else ""
    return log_id if is_log_id(log_id) else ""


def log_verbs(host: LogHost | None) -> dict[str, Verb]:
    async def read(admin: Admin, arguments: ReadLogs, actor: str) -> Any:  # noqa: ARG001
        opened = _opened(host)
        wall = admin.coordinator.wall()
        after = arguments.after
        if after is None:
            after = stamp_of(wall - arguments.since) if arguments.since is not None else 0
        try:
            frames = await opened.page(after, _wanted(admin.coordinator.registry, arguments.node), arguments.wait)
        except TooManyFollowers:
            raise Refused("too many follow the logs already; end one, or leave --follow out") from None
        claims = claims_of(admin.coordinator.registry)
        return {
            "lines": [line for frame in frames for line in _lines(frame, claims)],
            "after": frames[-1].stamp if frames else after,
            "kept": kept(opened),
        }

    async def sources(admin: Admin, arguments: Nothing, actor: str) -> Any:  # noqa: ARG001
        opened = _opened(host)
        claims = claims_of(admin.coordinator.registry)
        rows = [
            {"log_id": log_id, "nodes": list(claims.get(log_id, ())), "bytes": size,
             "oldest": _time(first), "newest": _time(last)}
            for log_id, size, first, last in sorted(await opened.rows(), key=lambda row: row[3])
        ]  # fmt: skip
        return {"sources": rows, "kept": kept(opened), "taken": opened.taken, "refused": opened.refused}

    return {"logs.read": (ReadLogs, read), "logs.sources": (Nothing, sources)}


def _opened(host: LogHost | None) -> LogHost:
    if host is None:
        raise Refused(OFF)
    return host


def kept(host: LogHost) -> dict[str, Any]:
    config = host.config
    return {
        "retention_days": config.retention_days,
        "max_mib": config.max_mib,
        "per_node_mib": config.per_node_mib,
        "used_bytes": host.used,
        "problem": host.problem,
    }


def _wanted(registry: Registry, name: str) -> Sequence[str] | None:
    if not name:
        return None
    if is_log_id(name):
        return [name]
    node = registry.node_named(name)
    log_id = log_id_of(registry, node.id)
    if not log_id:
        raise Refused(f"{node.label} has told of no log: start it with TS_LOG_TARGET=https:// and the log host's name")
    return [log_id]


def _lines(frame: Frame, claims: Claims) -> list[dict[str, Any]]:
    about = {"received": _time(frame.stamp), "log_id": frame.log_id, "nodes": list(claims.get(frame.log_id, ()))}
    return [about | {name: value for name, value in msgspec.structs.asdict(line).items() if value not in ABSENT}
            for line in frame.lines]  # fmt: skip


def _time(moment: int) -> str:
    written = stamp(WallTime(moment / 1e6))
    assert written is not None
    return written.isoformat(timespec="milliseconds").replace("+00:00", "Z")
