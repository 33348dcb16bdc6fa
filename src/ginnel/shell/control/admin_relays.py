"""The fleet's verbs of the admin API.

Room: shell. Every change is audited with the caller's uid.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ginnel.core.control.derp_views import View
from ginnel.core.control.fleet_book import TOKEN_ENTROPY, check_place
from ginnel.core.control.fleet_records import DropRelay, FleetRegion, RelayRecord, RelayTokenRecord
from ginnel.core.control.fleet_states import NAMES, Announced, Draining
from ginnel.core.control.records import Audit, Row
from ginnel.core.control.refused import Refused
from ginnel.shell.control.fleet import RelayFleet
from ginnel.shell.control.fleet_extra import ExtraMaps
from ginnel.shell.control.relay_answers import outlook_json, region_json, time_text, token_json
from ginnel.shell.control.relay_arguments import (
    AddRelay,
    Arguments,
    CreateToken,
    DrainRelay,
    EditRegion,
    MaybeName,
    Nothing,
    RelayName,
    RemoveRelay,
    ShowMap,
    TokenName,
)
from ginnel.wire.relay_token import RelayToken, encode_relay_token
from ginnel.wire.tailcfg import DERPMap, DERPNode
from ginnel.words import BadKey, Instant, MachineKey, NodeKey, WallTime

LONGEST_TOKEN = 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a token needs beside its secret."""

    url: str
    server_key: MachineKey
    pin: bytes | None


@dataclass(slots=True)
class RelayAdmin:
    fleet: RelayFleet
    extras: ExtraMaps
    joining: Asked

    # --- tokens ----------------------------------------------------------------------------------------------

    async def token_create(self, arguments: CreateToken, actor: str) -> Any:
        if not 0 < arguments.expiration <= LONGEST_TOKEN:
            raise Refused("a relay's token must expire within a year")

        def decide(wall: WallTime) -> tuple[tuple[str, RelayTokenRecord], list[Row]]:
            region = self._region_rows(
                FleetRegion(arguments.region, arguments.code, arguments.name, arguments.latitude, arguments.longitude)
            )
            expiry = WallTime(wall + arguments.expiration)
            secret = secrets.token_bytes(TOKEN_ENTROPY)
            text, token = self.fleet.book.create_token(arguments.region, secret, wall, expiry)
            audit = Audit(wall, actor, "relay token create", f"relay token {token.prefix}", f"region {token.region}")
            return (text, token), [*region, token, audit]

        text, token = await self._change(decide)
        whole = RelayToken(self.joining.url, self.joining.server_key, token.expiry, text, self.joining.pin)
        return {**token_json(token), "token": encode_relay_token(whole)}

    def _region_rows(self, wanted: FleetRegion) -> Sequence[Row]:
        second = self.fleet.map.settings.own
        if second is not None and wanted.id == second.region_id + 1 and wanted.id in self.fleet.map.settings.static:
            raise Refused(f"region {wanted.id} is the second address of this server's own relay: choose another number")
        return self.fleet.book.region_for(wanted, self.fleet.map.known_region(wanted.id))

    async def token_list(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        return [token_json(token) for token in self.fleet.book.tokens.values()]

    async def token_revoke(self, arguments: TokenName, actor: str) -> Any:
        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            rows = self.fleet.book.revoke_token(arguments.token, wall)
            return None, [*rows, Audit(wall, actor, "relay token revoke", f"relay token {arguments.token[:32]}")]

        await self._change(decide)
        return {}

    # --- relays ----------------------------------------------------------------------------------------------

    async def listed(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        relays = sorted(self.fleet.book.relays.values(), key=lambda relay: relay.name)
        return [self._relay(relay) for relay in relays]

    async def status(self, _: Nothing, actor: str) -> Any:  # noqa: ARG002
        """What is wrong with the fleet as a whole, and where maps from elsewhere stand."""
        extras = [{"source": e.source, "regions": len((e.last or DERPMap()).regions or {}), "error": e.error}
                  for e in self.extras.extras]  # fmt: skip
        return {"health": [self.fleet.health] if self.fleet.health else [], "extra_maps": extras}

    async def add(self, arguments: AddRelay, actor: str) -> Any:
        try:
            key = NodeKey.parse(arguments.key) if arguments.key else None
        except BadKey as error:
            raise Refused(f"the relay's key: {error}") from None
        node = DERPNode(
            "", arguments.region, arguments.host, arguments.cert_name, arguments.ipv4, arguments.ipv6,
            stun_port=arguments.stun_port, derp_port=arguments.port, can_port80=arguments.can_port80,
        )  # fmt: skip

        def decide(wall: WallTime) -> tuple[RelayRecord, list[Row]]:
            region = self._region_rows(FleetRegion(arguments.region, arguments.code, arguments.name))
            record = self.fleet.book.add(arguments.region, node, key, wall, self.fleet.map.taken())
            return record, [*region, record, Audit(wall, actor, "relay add", f"relay {record.name}", arguments.host)]

        record = await self._change(decide)
        self.fleet.added(record)
        return self._relay(record)

    async def remove(self, arguments: RemoveRelay, actor: str) -> Any:
        """Of a region, all its relays."""
        relays = self.fleet.book.named(arguments.relay)
        if any(self.fleet.map.is_own(relay) for relay in relays):
            raise Refused("the server's own relay is removed by its configuration: relay.enabled = false")
        self._not_the_last(relays, arguments.force, "removed")

        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            rows: list[Row] = [DropRelay(r.id) for r in relays if r.id in self.fleet.book.relays]
            return None, [
                *rows,
                *self.fleet.meshes.keys_known_to(relays, wall),
                *(Audit(wall, actor, "relay remove", f"relay {r.name}", r.node.host_name) for r in relays),
            ]

        await self._change(decide)
        self.fleet.removed(relays)
        return [{"name": relay.name} for relay in relays]

    async def drain(self, arguments: DrainRelay, actor: str) -> Any:
        relays = self.fleet.book.named(arguments.relay)
        if not 0 <= arguments.deadline <= LONGEST_TOKEN:
            raise Refused("a drain's deadline lies between now and a year")
        self._not_the_last(relays, arguments.force, "drained")
        now = self.fleet.now()
        await self._audit(actor, "relay drain", relays)
        for relay in relays:
            self.fleet.perform(self.fleet.core.drain(relay.id, Instant(now + arguments.deadline)))
        return [self._relay(relay) for relay in relays]

    async def undrain(self, arguments: RelayName, actor: str) -> Any:
        relays = self.fleet.book.named(arguments.relay)
        await self._audit(actor, "relay undrain", relays)
        for relay in relays:
            self.fleet.perform(self.fleet.core.undrain(relay.id, self.fleet.now()))
        return [self._relay(relay) for relay in relays]

    def _not_the_last(self, relays: Sequence[RelayRecord], force: bool, done: str) -> None:
        """Clients without a relay cannot find each other; no map goes out that says so."""
        if not force and self.fleet.map.leaves_none(relays):
            raise Refused(
                f"no other relay that can be a home would be left: add one first, or say --force to have it {done}"
            )

    async def probe(self, arguments: MaybeName, actor: str) -> Any:  # noqa: ARG002
        """Look now; the fleet's own probes are not disturbed by it."""
        book = self.fleet.book
        relays = book.named(arguments.relay) if arguments.relay else sorted(book.relays.values(), key=lambda r: r.name)
        looks = await asyncio.gather(*(self.fleet.looks.look(relay) for relay in relays))
        return [outlook_json(relay, outlook) for relay, outlook in zip(relays, looks, strict=True)]

    # --- regions and the map ---------------------------------------------------------------------------------

    async def region(self, arguments: EditRegion, actor: str) -> Any:
        if arguments.score is not None and not 0 <= arguments.score <= 1000:
            raise Refused("a region's score lies above 0: below 1 favours it, above 1 disfavours it, 0 takes it back")

        def decide(wall: WallTime) -> tuple[FleetRegion, list[Row]]:
            old = self.fleet.book.regions.get(arguments.region)
            if old is None and self.fleet.map.known_region(arguments.region) is None:
                raise Refused(f"no region {arguments.region}; `ginnel relay map` shows them")
            said = {k: v for k, v in msgspec.structs.asdict(arguments).items() if k != "region" and v is not None}
            named = {k: said.pop(k) for k in ("code", "name") if k in said}
            base = old or FleetRegion(arguments.region)
            if named:
                wanted = FleetRegion(arguments.region, named.get("code", ""), named.get("name", ""))
                rows = self.fleet.book.region_for(wanted, self.fleet.map.known_region(arguments.region))
                base = next((row for row in rows if isinstance(row, FleetRegion)), base)
            changed = replace(base, **said)
            check_place(changed.latitude, changed.longitude)
            detail = ", ".join(f"{k} {v}" for k, v in [*named.items(), *said.items()])
            return changed, [changed, Audit(wall, actor, "relay region", f"region {arguments.region}", detail[:200])]

        changed = await self._change(decide)
        self.fleet.refresh()
        return region_json(changed)

    async def map(self, arguments: ShowMap, actor: str) -> Any:  # noqa: ARG002
        if arguments.full:
            return msgspec.to_builtins(self.fleet.map.full, str_keys=True)
        views = self.fleet.map.views
        view = views.view_of(arguments.tags, arguments.user) if arguments.tags or arguments.user else View()
        return msgspec.to_builtins(views.seen_by(view), str_keys=True)

    # --- shared ----------------------------------------------------------------------------------------------

    async def _change(self, decide: Callable[[WallTime], tuple[Any, list[Row]]]) -> Any:
        return await self.fleet.change(decide)

    async def _audit(self, actor: str, verb: str, relays: Sequence[RelayRecord]) -> None:
        await self._change(lambda wall: (None, [Audit(wall, actor, verb, f"relay {r.name}") for r in relays]))

    def _relay(self, relay: RelayRecord) -> dict[str, Any]:
        fleet = self.fleet
        live, state = fleet.live_now(relay), fleet.core.state(relay.id)
        shown = relay.shown or relay.node
        regions = fleet.map.full.regions or {}
        region = regions.get(relay.region) or fleet.book.regions.get(relay.region)
        code = getattr(region, "region_code", None) or getattr(region, "code", "")
        own = fleet.map.is_own(relay)
        return {
            "name": relay.name,
            "region": relay.region,
            "region_code": code,
            "host": relay.node.host_name,
            "ipv4": shown.ipv4,
            "ipv6": shown.ipv6,
            "cert_name": relay.node.cert_name,
            "key": str(relay.key) if relay.key else "",
            "kind": "own" if own else "joined" if relay.machine is not None else "added",
            "state": NAMES[type(state)],
            "why": fleet.core.why(relay.id),
            "drain_seconds_left": round(state.until - fleet.now()) if isinstance(state, Draining) else None,
            "announced_seconds_left": round(state.until - fleet.now()) if isinstance(state, Announced) else None,
            "connected": live.connected if relay.machine is not None else None,
            "clients": live.clients if live.reported else None,
            "mesh_links": live.mesh_links if live.reported else None,
            "counters": live.counters,
            "last_probe": time_text(live.looked),
            "created_at": time_text(relay.created),
        }


Verb = tuple[type[Arguments], Callable[[RelayAdmin, Any, str], Awaitable[Any]]]
VERBS: dict[str, Verb] = {
    "relay.token.create": (CreateToken, RelayAdmin.token_create),
    "relay.token.list": (Nothing, RelayAdmin.token_list),
    "relay.token.revoke": (TokenName, RelayAdmin.token_revoke),
    "relay.list": (Nothing, RelayAdmin.listed),
    "relay.status": (Nothing, RelayAdmin.status),
    "relay.add": (AddRelay, RelayAdmin.add),
    "relay.remove": (RemoveRelay, RelayAdmin.remove),
    "relay.drain": (DrainRelay, RelayAdmin.drain),
    "relay.undrain": (RelayName, RelayAdmin.undrain),
    "relay.probe": (MaybeName, RelayAdmin.probe),
    "relay.region": (EditRegion, RelayAdmin.region),
    "relay.map": (ShowMap, RelayAdmin.map),
}
