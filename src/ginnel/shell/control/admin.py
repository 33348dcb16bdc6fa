"""The admin API: HTTP and JSON on a unix socket, for root and for the server's own user.

Room: shell. `POST /v1/<verb>` with a JSON object of arguments; unknown members are refused. Every change is audited
with the caller's uid. JSON member names are headscale's where it has the thing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from ginnel.core.control import limits
from ginnel.core.control.login import owner_names
from ginnel.core.control.records import Audit, Node, PreauthKey, Row, Status, User
from ginnel.core.control.registry import Refused
from ginnel.shell.control.admin_relays import VERBS as RELAY_VERBS
from ginnel.shell.control.admin_relays import RelayAdmin
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.store import StoreUnavailable
from ginnel.shell.relaydns.service import RelayDns
from ginnel.wire.invite import Invite, encode_invite
from ginnel.wire.tailcfg import stamp
from ginnel.words import MachineKey, WallTime

DEFAULT_KEY_LIFETIME = 3600.0


class AdminProtocol(H11Protocol):
    """Closes the connection of anybody but root and ourselves before a byte is read."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        uid = struct.unpack("3i", peer)[1]
        if uid not in (0, os.geteuid()):
            transport.abort()
        self.client = (f"uid {uid}", 0)


class _Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Nothing(_Arguments, frozen=True):
    pass


class UserName(_Arguments, frozen=True):
    name: str


class RenameUser(_Arguments, frozen=True):
    name: str
    new_name: str


class CreateKey(_Arguments, frozen=True):
    """`expiration`: seconds from now."""

    user: str = ""
    reusable: bool = False
    ephemeral: bool = False
    expiration: float = DEFAULT_KEY_LIFETIME
    tags: list[str] = []


class KeyName(_Arguments, frozen=True):
    key: str


class OfUser(_Arguments, frozen=True):
    user: str = ""


class NodeName(_Arguments, frozen=True):
    node: str


class RenameNode(_Arguments, frozen=True):
    node: str
    new_name: str


class Approve(_Arguments, frozen=True):
    id: str
    user: str


class PolicyBody(_Arguments, frozen=True):
    text: str


@dataclass(frozen=True, slots=True)
class Joining:
    """What an invite needs beside the key."""

    url: str
    server_key: MachineKey
    pin: bytes | None


Verb = tuple[type[msgspec.Struct], Callable[["Admin", Any, str], Awaitable[Any]]]


@dataclass(slots=True)
class Admin:
    coordinator: Coordinator
    joining: Joining
    relays: RelayAdmin
    relay_dns: Callable[[], RelayDns | None] = lambda: None

    async def relay_zone(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        """The zone in force as JSON, and as a zone file under `zonefile`."""
        serving = self.relay_dns()
        if serving is None:
            raise Refused(
                'the relays have no zone: add [relay_dns] with zone = "relays.example.com" to the server\'s settings,'
                " and listen = [] where another server is to serve it"
            )
        return serving.told()

    async def users_list(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        return [_user(user) for user in self.coordinator.registry.users.values()]

    async def users_create(self, arguments: UserName, actor: str) -> Any:
        def decide(wall: WallTime) -> tuple[User, list[Row]]:
            user, rows = self.coordinator.registry.create_user(arguments.name, wall)
            return user, [*rows, Audit(wall, actor, "user create", f"user {user.id}", user.name)]

        return _user(await self.coordinator.change(decide))

    async def users_rename(self, arguments: RenameUser, actor: str) -> Any:
        registry = self.coordinator.registry
        await self._simply(
            lambda _: registry.rename_user(arguments.name, arguments.new_name),
            actor, "user rename", f"user {arguments.name}", arguments.new_name,
        )  # fmt: skip
        return _user(registry.user_named(arguments.new_name))

    async def users_destroy(self, arguments: UserName, actor: str) -> Any:
        registry = self.coordinator.registry
        await self._simply(
            lambda wall: registry.destroy_user(arguments.name, wall), actor, "user destroy", f"user {arguments.name}"
        )
        return {}

    async def preauthkeys_create(self, arguments: CreateKey, actor: str) -> Any:
        text, key = await self.coordinator.change(lambda wall: self._new_key(arguments, actor, wall))
        return {**self._key(key), "key": text}

    async def invites_create(self, arguments: CreateKey, actor: str) -> Any:
        text, key = await self.coordinator.change(lambda wall: self._new_key(arguments, actor, wall))
        joining = self.joining
        invite = Invite(joining.url, joining.server_key, text, joining.pin)
        return {**self._key(key), "invite": encode_invite(invite)}

    def _new_key(self, arguments: CreateKey, actor: str, wall: WallTime) -> tuple[tuple[str, PreauthKey], list[Row]]:
        registry = self.coordinator.registry
        user = registry.user_named(arguments.user) if arguments.user else None
        for tag in arguments.tags:
            _check_tag(tag)
        if not 0 < arguments.expiration <= 10 * 366 * 86400:
            raise Refused("a pre-auth key's expiration must lie between now and ten years")
        text, key, rows = registry.create_key(
            user,
            secrets.token_bytes(26),
            wall,
            expiry=WallTime(wall + arguments.expiration),
            reusable=arguments.reusable,
            ephemeral=arguments.ephemeral,
            tags=tuple(arguments.tags),
        )
        return (text, key), [*rows, Audit(wall, actor, "preauthkey create", f"pre-auth key {key.prefix}")]

    async def preauthkeys_list(self, arguments: OfUser, actor: str) -> Any:  # noqa: ARG002
        registry = self.coordinator.registry
        wanted = registry.user_named(arguments.user).id if arguments.user else None
        return [self._key(key) for key in registry.keys.values() if wanted in (None, key.user)]

    async def preauthkeys_expire(self, arguments: KeyName, actor: str) -> Any:
        registry = self.coordinator.registry
        shown = arguments.key.split("-")[1] if arguments.key.count("-") == 2 else arguments.key
        await self._simply(
            lambda wall: registry.revoke_key(arguments.key, wall), actor, "preauthkey expire", f"pre-auth key {shown}"
        )
        return {}

    async def nodes_list(self, arguments: OfUser, actor: str) -> Any:  # noqa: ARG002
        registry = self.coordinator.registry
        wanted = registry.user_named(arguments.user).id if arguments.user else None
        return [self._node(node) for _, node in sorted(registry.nodes.items()) if wanted in (None, node.user)]

    async def nodes_delete(self, arguments: NodeName, actor: str) -> Any:
        registry = self.coordinator.registry
        node = registry.node_named(arguments.node)
        await self._simply(
            lambda wall: registry.delete_node(registry.node_named(str(node.id)), wall),
            actor, "node delete", f"node {node.id}", node.label,
        )  # fmt: skip
        return self._node(node)

    async def nodes_expire(self, arguments: NodeName, actor: str) -> Any:
        registry = self.coordinator.registry
        node_id = registry.node_named(arguments.node).id
        await self._simply(
            lambda wall: registry.expire_node(registry.node_named(str(node_id)), wall),
            actor, "node expire", f"node {node_id}",
        )  # fmt: skip
        return self._node(registry.nodes[node_id])

    async def nodes_rename(self, arguments: RenameNode, actor: str) -> Any:
        registry = self.coordinator.registry
        node_id = registry.node_named(arguments.node).id
        await self._simply(
            lambda _: registry.set_label(registry.node_named(str(node_id)), arguments.new_name),
            actor, "node rename", f"node {node_id}", arguments.new_name[:63],
        )  # fmt: skip
        return self._node(registry.nodes[node_id])

    async def auth_list(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        now = self.coordinator.now()
        return [
            {
                "id": login.id,
                "hostname": str(login.hostinfo.get("Hostname", "")),
                "os": str(login.hostinfo.get("OS", "")),
                "machine_key": str(login.machine),
                "node_key": str(login.key),
                "tags": list(login.tags),
                "seconds_left": round(login.ends - now),
            }
            for login in self.coordinator.pending.all()
        ]

    async def auth_approve(self, arguments: Approve, actor: str) -> Any:
        login_id = arguments.id.rstrip("/").rpartition("/")[2]  # the whole URL will do as well
        return self._node(await self.coordinator.logins.approve(login_id, arguments.user, actor))

    async def policy_get(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        policy = self.coordinator.registry.policy
        return {"text": policy.text if policy is not None else "", "version": policy.version if policy else 0}

    async def policy_set(self, arguments: PolicyBody, actor: str) -> Any:
        return {"version": await self.coordinator.set_policy(arguments.text, actor)}

    async def policy_check(self, arguments: PolicyBody, actor: str) -> Any:  # noqa: ARG002
        self.coordinator.check_policy(arguments.text)
        return {}

    async def audit_list(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        trail = await self.coordinator.store.audit_trail(1000)
        return [{**msgspec.to_builtins(entry), "at": _time(entry.at)} for entry in trail]

    async def server_info(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        coordinator = self.coordinator
        return {
            "url": self.joining.url,
            "public_key": str(self.joining.server_key),
            "nodes": len(coordinator.registry.nodes),
            "streams": len(coordinator.mapper.streams),
            "counters": dict(sorted({**coordinator.counters, "register.refused": coordinator.logins.refused}.items())),
        }

    async def _simply(
        self, decide: Callable[[WallTime], list[Row]], actor: str, verb: str, subject: str, detail: str = ""
    ) -> None:
        await self.coordinator.change(lambda wall: (None, [*decide(wall), Audit(wall, actor, verb, subject, detail)]))

    def _key(self, key: PreauthKey) -> dict[str, Any]:
        user = self.coordinator.registry.users.get(key.user)
        return {
            "id": key.id,
            "prefix": key.prefix,
            "user": _user(user) if user is not None else None,
            "reusable": key.reusable,
            "ephemeral": key.ephemeral,
            "used": key.used is not None,
            "revoked": key.revoked is not None,
            "expiration": _time(key.expiry),
            "created_at": _time(key.created),
            "acl_tags": list(key.tags),
        }

    def _node(self, node: Node) -> dict[str, Any]:
        registry = self.coordinator.registry
        status = registry.status.get(node.id, Status(node.id))
        name, _ = owner_names(registry, node)
        return {
            "id": node.id,
            "name": str(status.hostinfo.get("Hostname", node.hostname)),
            "given_name": node.label,
            "fqdn": f"{node.label}.{self.coordinator.settings.surroundings.base_domain}",
            "user": {"id": node.user, "name": name},
            "ip_addresses": [node.ipv4, node.ipv6],
            "machine_key": str(node.machine),
            "node_key": str(node.key),
            "disco_key": str(status.disco) if status.disco else "",
            "tags": list(node.tags),
            "ephemeral": node.ephemeral,
            "online": node.id in self.coordinator.presence.online,
            "last_seen": _time(status.last_seen),
            "expiry": _time(node.expiry),
            "expired": node.expired(self.coordinator.wall()),
            "created_at": _time(node.created),
            "version": str(status.hostinfo.get("IPNVersion", "")),
            "os": str(status.hostinfo.get("OS", "")),
            "endpoints": list(status.endpoints),
            "home_region": status.home,
        }


VERBS: dict[str, Verb] = {
    "users.list": (Nothing, Admin.users_list),
    "users.create": (UserName, Admin.users_create),
    "users.rename": (RenameUser, Admin.users_rename),
    "users.destroy": (UserName, Admin.users_destroy),
    "preauthkeys.create": (CreateKey, Admin.preauthkeys_create),
    "preauthkeys.list": (OfUser, Admin.preauthkeys_list),
    "preauthkeys.expire": (KeyName, Admin.preauthkeys_expire),
    "invites.create": (CreateKey, Admin.invites_create),
    "nodes.list": (OfUser, Admin.nodes_list),
    "nodes.delete": (NodeName, Admin.nodes_delete),
    "nodes.expire": (NodeName, Admin.nodes_expire),
    "nodes.rename": (RenameNode, Admin.nodes_rename),
    "auth.list": (Nothing, Admin.auth_list),
    "auth.approve": (Approve, Admin.auth_approve),
    "policy.get": (Nothing, Admin.policy_get),
    "policy.set": (PolicyBody, Admin.policy_set),
    "policy.check": (PolicyBody, Admin.policy_check),
    "audit.list": (Nothing, Admin.audit_list),
    "relay.zone": (Nothing, Admin.relay_zone),
    "server.info": (Nothing, Admin.server_info),
}


def _of_relays(run: Callable[[RelayAdmin, Any, str], Awaitable[Any]]) -> Callable[[Admin, Any, str], Awaitable[Any]]:
    return lambda admin, arguments, actor: run(admin.relays, arguments, actor)


VERBS |= {name: (kind, _of_relays(run)) for name, (kind, run) in RELAY_VERBS.items()}


def make_admin_app(admin: Admin, more: Mapping[str, Verb] = MappingProxyType({})) -> Starlette:
    async def handle(request: Request) -> Response:
        name = request.path_params["verb"]
        verb = VERBS.get(name) or more.get(name)
        if verb is None:
            return _answer(404, {"error": "the server does not know this verb; is it of another version?"})
        kind, run = verb
        actor = request.client.host if request.client is not None else "?"
        try:
            arguments = msgspec.json.decode(await _body(request), type=kind)
            return _answer(200, await run(admin, arguments, actor))
        except (msgspec.MsgspecError, UnicodeDecodeError, Refused) as error:
            return _answer(400, {"error": str(error)})
        except StoreUnavailable as error:
            return _answer(503, {"error": f"{error}; nothing was changed"})

    return Starlette(routes=[Route("/v1/{verb}", handle, methods=["POST"])])


async def _body(request: Request) -> bytes:
    body = bytearray()
    async with asyncio.timeout(10):
        async for piece in request.stream():
            body += piece
            if len(body) > limits.MAX_ADMIN_BODY:
                raise Refused(f"at most {limits.MAX_ADMIN_BODY} bytes")
    return bytes(body)


def _answer(status: int, value: Any) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _user(user: User) -> dict[str, Any]:
    return {"id": user.id, "name": user.name, "created_at": _time(user.created)}


def _time(wall: WallTime | None) -> str | None:
    written = stamp(wall)
    return written.isoformat(timespec="seconds").replace("+00:00", "Z") if written is not None else None


def _check_tag(tag: str) -> None:
    name = tag.removeprefix("tag:")
    if name == tag or not name[:1].isalpha() or not all(c.isascii() and (c.isalnum() or c == "-") for c in name):
        raise Refused(f"expected a tag as tag:name, got {tag!r}")
