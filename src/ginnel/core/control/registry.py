"""Users, nodes and pre-auth keys in memory, and the rules of who is who.

Room: core. Each mutation is a function that returns rows and changes nothing; whoever holds the registry commits the
rows to the database and then applies them here. Two mutations must not overlap between their return and `apply`.
One function stands for each identity rule, and every path (key, approval, rotation, restart) calls that one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import ClassVar

from ginnel.core.control import limits
from ginnel.core.control.addresses import COOL_DOWN, AddressPool, NoAddressLeft
from ginnel.core.control.fleet_book import FleetBook
from ginnel.core.control.fleet_records import (
    DropRelay,
    FleetRegion,
    FleetRow,
    RelayRecord,
    RelayTokenRecord,
    SpendToken,
)
from ginnel.core.control.names import NameRefused, Names
from ginnel.core.control.records import (
    TAGGED_USER,
    Audit,
    Drop,
    KeyBinding,
    Node,
    PolicyText,
    PreauthKey,
    Released,
    Row,
    Spend,
    Status,
    User,
)
from ginnel.core.control.refused import Refused
from ginnel.core.control.statement import hostname_of
from ginnel.words import MachineKey, NodeId, NodeKey, UserId, WallTime

__all__ = ["Effects", "Refused", "Registry", "digest_of"]


@dataclass(frozen=True, slots=True)
class Effects:
    """What applying rows did, for those who must be told."""

    changed: frozenset[NodeId] = frozenset()  # nodes whose record or status is another now
    removed: frozenset[NodeId] = frozenset()
    users: frozenset[UserId] = frozenset()
    rekeyed: frozenset[NodeId] = frozenset()  # their old key's map streams must end
    keys_dropped: frozenset[NodeKey] = frozenset()
    policy: bool = False


@dataclass(slots=True)
class _Told:
    changed: set[NodeId] = field(default_factory=set)
    removed: set[NodeId] = field(default_factory=set)
    users: set[UserId] = field(default_factory=set)
    rekeyed: set[NodeId] = field(default_factory=set)
    keys_dropped: set[NodeKey] = field(default_factory=set)
    policy: bool = False


class Registry:
    """Memory of one tailnet. Public mappings are read by everybody and written by `apply` alone."""

    def __init__(self) -> None:
        self.users: dict[UserId, User] = {}
        self.nodes: dict[NodeId, Node] = {}
        self.status: dict[NodeId, Status] = {}
        self.keys: dict[int, PreauthKey] = {}
        self.released: dict[str, Released] = {}  # by IPv4 address, those that still rest
        self.withheld: list[tuple[str, str, str]] = []  # label and addresses that nobody may be given
        self.policy: PolicyText | None = None
        self.pool = AddressPool()
        self.names = Names()
        self.fleet = FleetBook()
        self._by_key: dict[NodeKey, NodeId] = {}
        self._by_machine: dict[MachineKey, set[NodeId]] = {}
        self._by_address: dict[str, NodeId] = {}
        self._by_label: dict[str, NodeId] = {}
        self._bound: dict[NodeKey, MachineKey] = {}
        self._by_prefix: dict[str, int] = {}
        self._last_user = 0
        self._last_node = 0
        self._last_key = 0

    # --- reading ---------------------------------------------------------------------------------------------

    def node_of(self, key: NodeKey, machine: MachineKey) -> Node | None:
        """The node that this machine owns under this key. The one test of a caller's identity (C01, C04): a key that
        is unknown and a key of another machine give the same answer."""
        node_id = self._by_key.get(key)
        node = self.nodes[node_id] if node_id is not None else None
        return node if node is not None and node.machine == machine else None

    def node_with(self, key: NodeKey) -> Node | None:
        """Whoever has this key now; that says nothing of who asks."""
        node_id = self._by_key.get(key)
        return self.nodes[node_id] if node_id is not None else None

    def key_is_live(self, key: NodeKey, now: WallTime) -> bool:
        """Whether a relay may let this key in."""
        node_id = self._by_key.get(key)
        return node_id is not None and not self.nodes[node_id].expired(now)

    def may_claim(self, key: NodeKey, machine: MachineKey) -> bool:
        """A node key belongs to one machine key for ever (C02, C03): the one test, wherever a key is set."""
        return self._bound.get(key, machine) == machine

    def user_named(self, name: str) -> User:
        for user in self.users.values():
            if user.name == name:
                return user
        raise Refused(f"no user {name!r}; `ginnel users list` shows them")

    def node_named(self, text: str) -> Node:
        """By id, label or full name."""
        label = text.split(".", maxsplit=1)[0]
        node_id = NodeId(int(text)) if text.isascii() and text.isdigit() else self._by_label.get(label)
        if node_id is None or node_id not in self.nodes:
            raise Refused(f"no node {text!r}; `ginnel nodes list` shows them")
        return self.nodes[node_id]

    def nodes_of(self, machine: MachineKey) -> list[Node]:
        return [self.nodes[node_id] for node_id in sorted(self._by_machine.get(machine, ()))]

    def next_node_id(self) -> NodeId:
        return NodeId(self._last_node + 1)

    # --- rows go in ------------------------------------------------------------------------------------------

    def apply(self, rows: Iterable[Row]) -> Effects:
        told = _Told()
        for row in rows:
            self._APPLY[type(row)](self, row, told)
        return Effects(
            frozenset(told.changed - told.removed),
            frozenset(told.removed),
            frozenset(told.users),
            frozenset(told.rekeyed),
            frozenset(told.keys_dropped),
            told.policy,
        )

    def _put_user(self, row: User, told: _Told) -> None:
        self.users[row.id] = row
        self._last_user = max(self._last_user, row.id)
        told.users.add(row.id)

    def _put_node(self, row: Node, told: _Told) -> None:
        old = self.nodes.get(row.id)
        if old is not None:
            self._unindex(old)
            if old.key != row.key:
                told.rekeyed.add(row.id)
                told.keys_dropped.add(old.key)
        self.nodes[row.id] = row
        self._last_node = max(self._last_node, row.id)
        self._by_key[row.key] = row.id
        self._bound[row.key] = row.machine
        self._by_machine.setdefault(row.machine, set()).add(row.id)
        self._by_address[row.ipv4] = self._by_address[row.ipv6] = row.id
        self._by_label[row.label] = row.id
        told.changed.add(row.id)

    def _unindex(self, node: Node) -> None:
        self._by_key.pop(node.key, None)
        self._by_label.pop(node.label, None)
        self._by_address.pop(node.ipv4, None)
        self._by_address.pop(node.ipv6, None)
        siblings = self._by_machine[node.machine]
        siblings.discard(node.id)
        if not siblings:
            del self._by_machine[node.machine]

    def _put_status(self, row: Status, told: _Told) -> None:
        if row.id in self.nodes:
            self.status[row.id] = row
            told.changed.add(row.id)

    def _put_preauth(self, row: PreauthKey, told: _Told) -> None:  # noqa: ARG002
        self.keys[row.id] = row
        self._by_prefix[row.prefix] = row.id
        self._last_key = max(self._last_key, row.id)

    def _put_binding(self, row: KeyBinding, told: _Told) -> None:  # noqa: ARG002
        self._bound[row.key] = row.machine

    def _put_released(self, row: Released, told: _Told) -> None:  # noqa: ARG002
        self.released[row.ipv4] = row
        with suppress(KeyError):  # while rows are loaded the pool knows of none of them; then comes `renumber`
            self.pool.free((ip_address(row.ipv4), ip_address(row.ipv6)), row.at)

    def _put_policy(self, row: PolicyText, told: _Told) -> None:
        self.policy = row
        told.policy = True

    def _spend(self, row: Spend, told: _Told) -> None:  # noqa: ARG002
        self.keys[row.key_id] = replace(self.keys[row.key_id], used=row.at)

    def _drop(self, row: Drop, told: _Told) -> None:
        if row.kind == "user":
            del self.users[UserId(row.id)]
            return
        node = self.nodes.pop(NodeId(row.id))
        self._unindex(node)
        self.status.pop(node.id, None)
        self.names.release(node.id)
        told.removed.add(node.id)
        told.keys_dropped.add(node.key)

    def _put_fleet(self, row: FleetRow, told: _Told) -> None:  # noqa: ARG002
        self.fleet.apply(row)

    def _note(self, row: Row, told: _Told) -> None:
        """Audit rows live in the database alone."""

    _APPLY: ClassVar[dict[type, Callable[..., None]]] = {}

    def renumber(self) -> None:
        """Take addresses and labels anew from the records: after loading, and when a commit failed whose rows had
        been given some."""
        others = [text for _, *addresses in self.withheld for text in addresses if _is_address(text)]
        used = {ip_address(text) for text in (*self._by_address, *others)}
        freed = [(ip_address(text), row.at) for row in self.released.values() for text in (row.ipv4, row.ipv6)]
        self.pool = AddressPool(used, [pair for pair in freed if pair[0] not in used])
        named = [(node.id, node.label, node.renamed) for node in self.nodes.values()]
        unread = [(NodeId(-number), label, True) for number, (label, *_) in enumerate(self.withheld, 1)]
        self.names = Names([*named, *unread])

    def take_addresses(self, now: WallTime) -> tuple[str, str]:
        """Raises Refused."""
        for row in [row for row in self.released.values() if row.at + COOL_DOWN <= now]:
            del self.released[row.ipv4]
        try:
            ipv4, ipv6 = self.pool.allocate(now)
        except NoAddressLeft as error:
            raise Refused(str(error)) from None
        return str(ipv4), str(ipv6)

    def resume_ids(self, *, user: int, node: int, key: int) -> None:
        """Numbers that deleted records had are not given again."""
        self._last_user = max(self._last_user, user)
        self._last_node = max(self._last_node, node)
        self._last_key = max(self._last_key, key)

    # --- users -----------------------------------------------------------------------------------------------

    def create_user(self, name: str, now: WallTime) -> tuple[User, list[Row]]:
        self._free_user_name(name)
        user = User(UserId(self._last_user + 1), name, now)
        return user, [user]

    def rename_user(self, name: str, new_name: str) -> list[Row]:
        user = self.user_named(name)
        self._free_user_name(new_name)
        return [replace(user, name=new_name)]

    def destroy_user(self, name: str, now: WallTime) -> list[Row]:
        user = self.user_named(name)
        if any(node.user == user.id for node in self.nodes.values()):
            raise Refused(f"user {name!r} still has nodes; delete them first with `ginnel nodes delete`")
        keys: list[Row] = [replace(k, revoked=k.revoked or now) for k in self.keys.values() if k.user == user.id]
        return [*keys, Drop("user", user.id)]

    def _free_user_name(self, name: str) -> None:
        if not 1 <= len(name) <= 63 or not all(c.isascii() and (c.isalnum() or c in "-_.@+") for c in name):
            raise Refused(f"user name {name!r} is not allowed: 1 to 63 letters, digits and -_.@+")
        if any(user.name == name for user in self.users.values()):
            raise Refused(f"user {name!r} exists already")

    # --- pre-auth keys ---------------------------------------------------------------------------------------

    def create_key(
        self,
        user: User | None,
        entropy: bytes,
        now: WallTime,
        *,
        expiry: WallTime | None,
        reusable: bool = False,
        ephemeral: bool = False,
        tags: tuple[str, ...] = (),
    ) -> tuple[str, PreauthKey, list[Row]]:
        """`entropy`: at least 26 fresh random bytes. The first item is the key: show it once, keep it nowhere."""
        if user is None and not tags:
            raise Refused("a pre-auth key needs a user or tags")
        if len(entropy) < 26:
            raise ValueError("a pre-auth key needs 26 bytes of entropy")
        prefix, secret = entropy[:6].hex(), entropy[6:26].hex()
        if prefix in self._by_prefix:
            raise Refused("the new key's prefix is taken; try again")
        text = f"gkey-{prefix}-{secret}"
        owner = user.id if user is not None else TAGGED_USER
        key = PreauthKey(
            self._last_key + 1,
            prefix,
            digest_of(text),
            owner,
            now,
            expiry,
            reusable,
            ephemeral,
            tuple(sorted(set(tags))),
        )
        return text, key, [key]

    def redeemable(self, text: str, now: WallTime) -> PreauthKey:
        """The key, if it may be used now: the one test, made in the same step that spends it (C06). The texts are
        headscale's, which people and tools know."""
        key = self._find_key(text)
        if key is None:
            raise Refused("invalid pre auth key")
        if key.revoked is not None:
            raise Refused("authkey revoked")
        if key.expiry is not None and key.expiry <= now:
            raise Refused("authkey expired")
        if key.used is not None and not key.reusable:
            raise Refused("authkey already used")
        if key.user != TAGGED_USER and key.user not in self.users:
            raise Refused("invalid pre auth key")
        return key

    def _find_key(self, text: str) -> PreauthKey | None:
        parts = text.split("-")
        key_id = self._by_prefix.get(parts[1]) if len(parts) == 3 else None
        key = self.keys[key_id] if key_id is not None else None
        return key if key is not None and hmac.compare_digest(key.digest, digest_of(text)) else None

    def revoke_key(self, text: str, now: WallTime) -> list[Row]:
        """By prefix, by the key itself or by number."""
        wanted = text.split("-")[1] if text.count("-") == 2 else text
        for key in self.keys.values():
            if wanted in (key.prefix, str(key.id)):
                return [replace(key, revoked=key.revoked or now)]
        raise Refused(f"no pre-auth key {wanted!r}; `ginnel preauthkeys list` shows them")

    # --- nodes -----------------------------------------------------------------------------------------------

    def same_node(self, machine: MachineKey, old_key: NodeKey | None, user: UserId) -> Node | None:
        """The node that a login with a new key continues: the one whose key it replaces, else the machine's one node
        of that owner. Another user's login on the same machine is another node; a node that takes on tags, or gives
        them up, is still itself."""
        replaced = self.node_of(old_key, machine) if old_key else None
        if replaced is not None and (replaced.user == user or TAGGED_USER in (replaced.user, user)):
            return replaced
        return next((node for node in self.nodes_of(machine) if node.user == user), None)

    def room_for_node(self, machine: MachineKey) -> None:
        if len(self.nodes_of(machine)) >= limits.MAX_NODES_PER_MACHINE:
            raise Refused("this machine has too many nodes; delete some with `ginnel nodes delete`")

    def expire_node(self, node: Node, now: WallTime) -> list[Row]:
        return [replace(node, expiry=now)]

    def delete_node(self, node: Node, now: WallTime) -> list[Row]:
        return [Released(node.ipv4, node.ipv6, now), Drop("node", node.id)]

    def follow_hostname(self, node: Node) -> list[Row]:
        """The machine may call itself otherwise than when it joined; its label follows, unless an admin chose it."""
        status = self.status.get(node.id)
        hostname = hostname_of(status.hostinfo) if status is not None else ""
        if hostname in ("", node.hostname):
            return []
        return [replace(node, hostname=hostname, label=self.names.give(node.id, hostname))]

    def set_label(self, node: Node, label: str) -> list[Row]:
        """An admin's choice. Raises Refused."""
        try:
            chosen = self.names.choose(node.id, label)
        except NameRefused as error:
            raise Refused(str(error)) from None
        return [replace(node, label=chosen, renamed=True)]


Registry._APPLY = {
    User: Registry._put_user,
    Node: Registry._put_node,
    Status: Registry._put_status,
    PreauthKey: Registry._put_preauth,
    KeyBinding: Registry._put_binding,
    Released: Registry._put_released,
    PolicyText: Registry._put_policy,
    Spend: Registry._spend,
    Drop: Registry._drop,
    Audit: Registry._note,
    **dict.fromkeys((FleetRegion, RelayRecord, RelayTokenRecord, SpendToken, DropRelay), Registry._put_fleet),
}


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def digest_of(text: str) -> bytes:
    """A pre-auth key has 160 random bits, so a plain hash keeps it as safe as a slow one would."""
    return hashlib.sha256(text.encode()).digest()
