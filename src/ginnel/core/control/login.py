"""What a register request gets (tailscale: tailcfg.RegisterRequest; the order is ours).

Room: core. Decides and returns rows; `Hold` means that the request waits for an approval, however long it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ginnel.core.control import limits
from ginnel.core.control.admission import Admission, admit, sorted_tags
from ginnel.core.control.pending import PendingLogin, PendingLogins
from ginnel.core.control.records import Audit, Node, Row, Spend, User
from ginnel.core.control.registry import Refused, Registry
from ginnel.core.control.statement import kept_hostinfo
from ginnel.wire import tailcfg
from ginnel.wire.tailcfg import RegisterRequest, RegisterResponse, wall_time
from ginnel.words import Instant, MachineKey, NodeKey, WallTime

MayTag = Callable[[User, str], bool]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the machine key that Noise proved, and the source that is counted for it."""

    machine: MachineKey
    source: str


@dataclass(frozen=True, slots=True)
class _Attempt:
    request: RegisterRequest
    key: NodeKey
    machine: MachineKey
    source: str
    now: Instant
    wall: WallTime


@dataclass(frozen=True, slots=True)
class Reply:
    """Send it once the rows are committed. `ousted`: pending logins that had to go for this one. `settled`: one that
    needs nobody's word any more, once the rows are committed."""

    response: RegisterResponse
    rows: tuple[Row, ...] = ()
    ousted: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    login_id: str


@dataclass(frozen=True, slots=True)
class BadRequest:
    """HTTP 400 with this text."""

    text: str


@dataclass(slots=True)
class LoginDesk:
    """`url`: the server's, without a trailing slash. `key_lifetime`: seconds a login lasts, None for ever."""

    registry: Registry
    pending: PendingLogins
    url: str
    may_tag: MayTag
    key_lifetime: float | None = None

    def decide(
        self, request: RegisterRequest, caller: Caller, now: Instant, wall: WallTime
    ) -> Reply | Hold | BadRequest:
        if request.version < limits.MIN_CAPABILITY:
            return BadRequest(f"unsupported client version: {request.version}, need {limits.MIN_CAPABILITY} or newer")
        if not request.node_key:
            return BadRequest("a register request needs a NodeKey")
        try:
            return self._decide(_Attempt(request, request.node_key, caller.machine, caller.source, now, wall))
        except Refused as refused:
            return _refusal(str(refused))

    def _decide(self, attempt: _Attempt) -> Reply | Hold:
        request, key, machine, wall = attempt.request, attempt.key, attempt.machine, attempt.wall
        node = self.registry.node_of(key, machine)
        wanted = wall_time(request.expiry)
        if wanted is not None and wanted <= wall:  # before the auth key is looked at: a logout repeats it
            return self._log_out(node, wall)
        if not self.registry.may_claim(key, machine):
            raise Refused("this node key belongs to another machine")
        if node is not None and not node.expired(wall):
            return Reply(self._success(node))
        if node is not None and not request.followup:
            return Reply(self._key_expired(node))
        if request.followup:
            return self._follow_up(attempt)
        if request.auth is not None and request.auth.auth_key:
            return self._redeem(attempt, request.auth.auth_key)
        return self._ask(attempt)

    def _log_out(self, node: Node | None, wall: WallTime) -> Reply:
        if node is None or (node.expired(wall) and not node.ephemeral):
            return Reply(RegisterResponse())  # no error: the client would stay logged in, and it learns nothing here
        rows = self.registry.delete_node(node, wall) if node.ephemeral else self.registry.expire_node(node, wall)
        return Reply(RegisterResponse(), (*rows, Audit(wall, "node", "logout", f"node {node.id}")))

    def _redeem(self, attempt: _Attempt, text: str) -> Reply:
        request, wall = attempt.request, attempt.wall
        auth_key = self.registry.redeemable(text, wall)
        hostinfo = kept_hostinfo(request.hostinfo)
        if hostinfo.pop("RequestTags", None):
            raise Refused("requested tags are invalid or not permitted: with a pre-auth key, the key's own tags count")
        admission = Admission(
            machine=attempt.machine,
            key=attempt.key,
            old_key=request.old_node_key or None,
            user=self.registry.users.get(auth_key.user),
            tags=auth_key.tags,
            ephemeral=auth_key.ephemeral,
            expiry=self._bounded(wall_time(request.expiry), wall),
            hostinfo=hostinfo,
            capability=request.version,
        )
        node, rows = admit(self.registry, admission, wall)
        spent: list[Row] = [] if auth_key.used is not None else [Spend(auth_key.id, wall)]
        audit = Audit(wall, f"pre-auth key {auth_key.prefix}", "register", f"node {node.id}", node.label)
        waited = self.pending.of(attempt.machine, attempt.key)
        return Reply(self._success(node), (*spent, *rows, audit), settled=(waited.id,) if waited is not None else ())

    def _ask(self, attempt: _Attempt) -> Reply:
        """A new AuthURL, or the one this very login has already. One that asks for something else is another login:
        what an admin looked at does not change under the id that is approved."""
        request = attempt.request
        hostinfo = kept_hostinfo(request.hostinfo)
        tags = sorted_tags(hostinfo.pop("RequestTags", None))
        known = self.pending.of(attempt.machine, attempt.key)
        if known is not None and not request.followup and (known.tags, known.ephemeral) == (tags, request.ephemeral):
            return Reply(self._auth_url(known.id))
        login = PendingLogin(
            id=self.pending.new_id(),
            source=attempt.source,
            machine=attempt.machine,
            key=attempt.key,
            old_key=request.old_node_key or None,
            hostinfo=hostinfo,
            tags=tags,
            ephemeral=request.ephemeral,
            expiry=wall_time(request.expiry),
            capability=request.version,
            ends=Instant(attempt.now + limits.PENDING_LIFETIME),
        )
        ousted = self.pending.add(login)
        return Reply(self._auth_url(login.id), ousted=tuple(ousted))

    def _follow_up(self, attempt: _Attempt) -> Reply | Hold:
        """Wait, or a new URL where the login is not (or no more) known: never the same URL again."""
        login = self.pending.get(attempt.request.followup.rstrip("/").rpartition("/")[2])
        if login is not None and (login.machine, login.key) == (attempt.machine, attempt.key):
            return Hold(login.id)
        return self._ask(attempt)

    def approve(self, login_id: str, user: User, wall: WallTime, actor: str) -> tuple[Node, list[Row]]:
        """An admin's word. Call `pending.finish` once the rows are committed. Raises Refused."""
        login = self.pending.get(login_id)
        if login is None:
            raise Refused(f"no login {login_id!r} is waiting; run `ginnel up` on the machine again")
        for tag in login.tags:
            if not self.may_tag(user, tag):
                raise Refused(
                    f"requested tags [{tag}] are invalid or not permitted: tagOwners does not name {user.name}"
                )
        admission = Admission(
            machine=login.machine,
            key=login.key,
            old_key=login.old_key,
            user=user,
            tags=login.tags,
            ephemeral=login.ephemeral,
            expiry=self._bounded(login.expiry, wall),
            hostinfo=login.hostinfo,
            capability=login.capability,
        )
        node, rows = admit(self.registry, admission, wall)
        return node, [*rows, Audit(wall, actor, "approve", f"node {node.id}", f"{node.label} for {user.name}")]

    # --- answers -----------------------------------------------------------------------------------------------

    def _bounded(self, wanted: WallTime | None, wall: WallTime) -> WallTime | None:
        """A client can ask for a shorter time, never for a longer one."""
        ours = WallTime(wall + self.key_lifetime) if self.key_lifetime is not None else None
        return min((t for t in (wanted, ours) if t is not None), default=None)

    def _success(self, node: Node) -> RegisterResponse:
        return msgspec.structs.replace(self._about(node), machine_authorized=True)

    def _key_expired(self, node: Node) -> RegisterResponse:
        return msgspec.structs.replace(self._about(node), node_key_expired=True)

    def _about(self, node: Node) -> RegisterResponse:
        name, display = owner_names(self.registry, node)
        return RegisterResponse(tailcfg.User(node.user, display), tailcfg.Login(node.user, "", name, display))

    def _auth_url(self, login_id: str) -> RegisterResponse:
        return RegisterResponse(auth_url=f"{self.url}/register/{login_id}")


def owner_names(registry: Registry, node: Node) -> tuple[str, str]:
    """Login name and display name of a node's owner."""
    user = registry.users.get(node.user)
    return (user.name, user.name) if user is not None else ("tagged-devices", "Tagged Devices")


def _refusal(text: str) -> Reply:
    return Reply(RegisterResponse(error=text), refused=True)
