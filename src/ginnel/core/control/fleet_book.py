"""The fleet's records in memory, and who may join as what.

Room: core. As in the registry: mutations return rows and change nothing, `apply` alone does.
"""

from __future__ import annotations

import hashlib
import hmac
import string
from collections.abc import Collection
from dataclasses import replace

from ginnel.core.control import limits
from ginnel.core.control.derp_entry import checked_entry
from ginnel.core.control.fleet_records import (
    DropRelay,
    FleetRegion,
    FleetRow,
    RelayRecord,
    RelayTokenRecord,
    SpendToken,
)
from ginnel.core.control.refused import Refused
from ginnel.wire.derpmap import REGION_LIMIT
from ginnel.wire.relaycontrol import RelayHello
from ginnel.wire.tailcfg import DERPNode
from ginnel.words import MachineKey, NodeKey, WallTime

TOKEN_ENTROPY = 26
LETTERS = string.ascii_lowercase
OTHERS_KEY = "another relay of the fleet has this key: each needs a --state directory of its own"
ANOTHER = "make another on the server with `ginnel relay token create`"


class FleetBook:
    def __init__(self) -> None:
        self.regions: dict[int, FleetRegion] = {}
        self.relays: dict[int, RelayRecord] = {}
        self.tokens: dict[int, RelayTokenRecord] = {}
        self._by_machine: dict[MachineKey, int] = {}
        self._last_relay = 0
        self._last_token = 0

    # --- reading ---------------------------------------------------------------------------------------------

    def of_machine(self, machine: MachineKey) -> RelayRecord | None:
        relay_id = self._by_machine.get(machine)
        return self.relays[relay_id] if relay_id is not None else None

    def in_region(self, region: int) -> list[RelayRecord]:
        return sorted((r for r in self.relays.values() if r.region == region), key=lambda r: r.letter)

    def named(self, text: str) -> list[RelayRecord]:
        """By name (901a), host name, region number or region code. Raises Refused."""
        found = [r for r in self.relays.values() if text in (r.name, r.node.host_name)]
        if not found:
            codes = {region.id for region in self.regions.values() if region.code and region.code == text}
            found = [r for r in self.relays.values() if str(r.region) == text or r.region in codes]
        if not found:
            raise Refused(f"no relay and no region with relays is called {text!r}; `ginnel relay list` shows them")
        return sorted(found, key=lambda r: r.name)

    # --- rows go in ------------------------------------------------------------------------------------------

    def apply(self, row: FleetRow) -> None:
        match row:
            case FleetRegion():
                self.regions[row.id] = row
            case RelayRecord():
                self.relays[row.id] = row
                self._last_relay = max(self._last_relay, row.id)
                if row.machine is not None:
                    self._by_machine[row.machine] = row.id
            case RelayTokenRecord():
                self.tokens[row.id] = row
                self._last_token = max(self._last_token, row.id)
            case SpendToken():
                self.tokens[row.token_id] = replace(self.tokens[row.token_id], used=row.at)
            case DropRelay():
                gone = self.relays.pop(row.id)
                if gone.machine is not None:
                    self._by_machine.pop(gone.machine, None)

    def resume_ids(self, *, relay: int, token: int) -> None:
        self._last_relay = max(self._last_relay, relay)
        self._last_token = max(self._last_token, token)

    # --- regions ---------------------------------------------------------------------------------------------

    def region_for(self, wanted: FleetRegion, known: tuple[str, str] | None) -> list[FleetRow]:
        """Rows of a region that relays are to join. `known`: code and name of a region that is there from elsewhere,
        which then need not be said. Raises Refused."""
        if not 0 < wanted.id <= REGION_LIMIT:
            raise Refused(f"a region's number is 1 to {REGION_LIMIT}; 900 to 999 are left to private relays")
        old = self.regions.get(wanted.id)
        code = wanted.code or (old.code if old is not None else "") or (known[0] if known else "")
        name = wanted.name or (old.name if old is not None else "") or (known[1] if known else "")
        if not code:
            raise Refused(f"region {wanted.id} is new: say its --code, such as fra")
        _check_code(code)
        check_place(wanted.latitude, wanted.longitude)
        base = old if old is not None else FleetRegion(wanted.id)
        merged = replace(
            base,
            code=code,
            name=_clean(name or code),
            latitude=wanted.latitude or base.latitude,
            longitude=wanted.longitude or base.longitude,
        )
        return [merged] if merged != old else []

    # --- tokens ----------------------------------------------------------------------------------------------

    def create_token(
        self, region: int, entropy: bytes, now: WallTime, expiry: WallTime
    ) -> tuple[str, RelayTokenRecord]:
        """(the secret, to be shown once; its record). `entropy`: TOKEN_ENTROPY fresh random bytes."""
        if len(entropy) < TOKEN_ENTROPY:
            raise ValueError(f"a relay's token needs {TOKEN_ENTROPY} bytes of entropy")
        prefix = entropy[:6].hex()
        if any(token.prefix == prefix for token in self.tokens.values()):
            raise Refused("the new token's prefix is taken; try again")
        text = f"grelay-{prefix}-{entropy[6:TOKEN_ENTROPY].hex()}"
        return text, RelayTokenRecord(self._last_token + 1, prefix, _digest(text), region, now, expiry)

    def redeemable(self, text: str, now: WallTime) -> RelayTokenRecord:
        """Raises Refused."""
        token = next((t for t in self.tokens.values() if hmac.compare_digest(t.digest, _digest(text))), None)
        if token is None:
            raise Refused(f"the token is not known here; {ANOTHER}")
        if token.revoked is not None:
            raise Refused(f"the token was revoked; {ANOTHER}")
        if token.used is not None:
            raise Refused(f"the token was used already, each is good for one relay; {ANOTHER}")
        if token.expiry <= now:
            raise Refused(f"the token has expired; {ANOTHER}")
        return token

    def revoke_token(self, text: str, now: WallTime) -> list[FleetRow]:
        for token in self.tokens.values():
            if text in (str(token.id), token.prefix):
                return [replace(token, revoked=token.revoked or now)]
        raise Refused(f"no token {text!r}; `ginnel relay token list` shows them")

    # --- relays ----------------------------------------------------------------------------------------------

    def join(
        self, machine: MachineKey, hello: RelayHello, now: WallTime, taken: Collection[str]
    ) -> tuple[RelayRecord, list[FleetRow]]:
        """A relay that comes with a token, or comes back. `taken`: names of nodes that are in the map from elsewhere.
        Raises Refused."""
        known = self.of_machine(machine)
        if known is not None:
            return self.restated(known, hello)
        if not hello.token:
            raise Refused("this relay is not of the fleet (any more): join with a token of `ginnel relay token create`")
        token = self.redeemable(hello.token, now)
        record = self._new(token.region, machine, hello.key, hello.node, now, taken)
        record = replace(record, mesh=hello.mesh)
        return record, [SpendToken(token.id, now), record]

    def restated(self, known: RelayRecord, hello: RelayHello) -> tuple[RelayRecord, list[FleetRow]]:
        """A relay of ours says anew what it is."""
        if any(relay.key == hello.key and relay.id != known.id for relay in self.relays.values()):
            raise Refused(OTHERS_KEY)
        checked = checked_entry(hello.node, known.region, known.name)
        record = replace(known, key=hello.key, node=checked, mesh=hello.mesh)
        return record, [record] if record != known else []

    def add(
        self, region: int, node: DERPNode, key: NodeKey | None, now: WallTime, taken: Collection[str]
    ) -> RelayRecord:
        """A relay that somebody else runs. Raises Refused."""
        return self._new(region, None, key, node, now, taken)

    def _new(  # noqa: PLR0917
        self,
        region: int,
        machine: MachineKey | None,
        key: NodeKey | None,
        node: DERPNode,
        now: WallTime,
        taken: Collection[str],
    ) -> RelayRecord:
        if len(self.relays) >= limits.MAX_RELAYS:
            raise Refused(f"the fleet has {limits.MAX_RELAYS} relays, which is as many as it may have")
        if key is not None and any(relay.key == key for relay in self.relays.values()):
            raise Refused(OTHERS_KEY)
        used = {relay.name for relay in self.in_region(region)} | set(taken)
        letter = next((letter for letter in LETTERS if f"{region}{letter}" not in used), None)
        if letter is None:
            raise Refused(f"region {region} has {len(LETTERS)} relays, which is as many as it may have")
        named = checked_entry(node, region, f"{region}{letter}")
        return RelayRecord(self._last_relay + 1, region, letter, machine, key, named, now)


def _check_code(code: str) -> None:
    if not 1 <= len(code) <= 16 or not all(c.isascii() and (c.isalnum() or c == "-") for c in code):
        raise Refused(f"region code {code[:32]!r} is not allowed: 1 to 16 letters, digits and hyphens, such as fra")


def check_place(latitude: float, longitude: float) -> None:
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise Refused(
            "a region's latitude is -90 to 90 and its longitude -180 to 180, in degrees, such as 50.1 and 8.7"
        )


def _clean(name: str) -> str:
    if len(name) > 64 or not name.isprintable():
        raise Refused("a region's name has at most 64 printable characters")
    return name


def _digest(text: str) -> bytes:
    """A token's secret has 160 random bits, so a plain hash keeps it as safe as a slow one would."""
    return hashlib.sha256(text.encode()).digest()
