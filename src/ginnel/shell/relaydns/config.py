"""`[relay_dns]` of the server's settings, checked.

Room: shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec

from ginnel.core.relaydns.limit import DEFAULT_RATE
from ginnel.core.relaydns.publish import REBUILD_EVERY
from ginnel.core.relaydns.responder import TransferPolicy
from ginnel.core.relaydns.zone import DEFAULT_TTL, MAX_TTL, NameServer, ZoneSettings, is_within
from ginnel.shell.relaydns.keyfile import RelayDnsError, read_key_file
from ginnel.wire.dns import name_of
from ginnel.wire.read import WireError
from ginnel.wire.tsig import TsigKey
from ginnel.words import Endpoint, IpAddress

PORT = 53
MIN_TTL = 5
MAX_REBUILD = 900.0
MAX_ZONE = 200


class UpdateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`server`: the primary of `zone`, ip or ip:port. `zone`: the zone there that holds the relays' names."""

    server: str = ""
    key_file: str = ""
    zone: str = ""


class RelayDnsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Off without `zone`. `listen`: none, where another server has the names. `ns`: name -> addresses, the primary
    first. `rate_limit`: UDP answers a second for each /24 and /56; 0: no limit. `rebuild`: seconds."""

    zone: str = ""
    listen: tuple[str, ...] = ("[::]:53",)
    ns: dict[str, tuple[str, ...]] = {}
    ttl: int = DEFAULT_TTL
    hostmaster: str = ""
    rate_limit: float = DEFAULT_RATE
    rebuild: float = REBUILD_EVERY
    allow_transfer: tuple[str, ...] = ()
    transfer_key_file: str = ""
    notify: tuple[str, ...] = ()
    update: UpdateConfig = UpdateConfig()


@dataclass(frozen=True, slots=True)
class UpdateTarget:
    server: Endpoint
    zone: bytes
    key: TsigKey


@dataclass(frozen=True, slots=True)
class Checked:
    """The settings as the parts take them."""

    zone: ZoneSettings
    listen: tuple[tuple[str, int], ...]
    rate: float
    rebuild: float
    transfers: TransferPolicy
    notify: tuple[Endpoint, ...]
    update: UpdateTarget | None


def checked(config: RelayDnsConfig, host: str, addresses: tuple[str, ...]) -> Checked:
    """`host`, `addresses`: the server's own, from which the name server's entry is made when there is none. Raises
    RelayDnsError."""
    origin = _name(config.zone, "zone")
    if not 1 < len(origin) <= MAX_ZONE:
        raise RelayDnsError(
            f"relay_dns.zone: expected a name of 1 to {MAX_ZONE - 2} characters, to leave room for relays"
        )
    if not MIN_TTL <= config.ttl <= MAX_TTL:
        raise RelayDnsError(f"relay_dns.ttl is {config.ttl}: choose {MIN_TTL} to {MAX_TTL} s, as relays change")
    if not 0 < config.rebuild <= MAX_REBUILD:
        raise RelayDnsError(f"relay_dns.rebuild is {config.rebuild:g}: choose up to {MAX_REBUILD:g} s")
    if config.hostmaster:
        _name(config.hostmaster, "hostmaster")
    if config.rate_limit < 0:
        raise RelayDnsError("relay_dns.rate_limit cannot be negative; 0 means no limit")
    servers = _name_servers(config, origin) or (_own_name_server(config.zone, origin, host, addresses),)
    zone = ZoneSettings(config.zone.rstrip("."), servers, config.ttl, config.hostmaster)
    listen = tuple(_listen(text) for text in config.listen)
    notify = tuple(_endpoint(text, "notify") for text in config.notify)
    return Checked(zone, listen, config.rate_limit, config.rebuild, _transfers(config), notify, _update(config, origin))


def _name(text: str, field: str) -> bytes:
    try:
        return name_of(text).lower()
    except WireError as error:
        raise RelayDnsError(f"relay_dns.{field}: {error}") from None


def _address(text: str, field: str) -> IpAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise RelayDnsError(f"relay_dns.{field}: expected an IP address, got {text!r}") from None


def _name_servers(config: RelayDnsConfig, origin: bytes) -> tuple[NameServer, ...]:
    servers = []
    for name, texts in config.ns.items():
        if is_within(_name(name, "ns"), origin) and not texts:
            raise RelayDnsError(
                f"relay_dns.ns: {name} lies in the zone, so say its addresses: {name!r} = ['192.0.2.1']"
            )
        servers.append(NameServer(name, tuple(_address(text, "ns") for text in texts)))
    return tuple(servers)


def _own_name_server(zone: str, origin: bytes, host: str, addresses: tuple[str, ...]) -> NameServer:
    """The server's own name, or `ns` in the zone where it has none or one that the zone itself would have to tell."""
    literal: tuple[IpAddress, ...] = ()
    try:
        literal = (ip_address(host),)
    except ValueError:
        if not is_within(_name(host, "ns"), origin):
            return NameServer(host)
    known = tuple(_address(text, "ns") for text in addresses) or literal
    if not known:
        raise RelayDnsError("relay_dns.ns: say the name server's name and address: ns = { 'ns1.ZONE' = ['192.0.2.1'] }")
    return NameServer(f"ns.{zone.rstrip('.')}", known)


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") or "::"
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise RelayDnsError(f"relay_dns.listen: expected ip:port, got {text!r}")
    return str(_address(host, "listen")), int(port)


def _endpoint(text: str, field: str) -> Endpoint:
    """`ip` or `ip:port`."""
    try:
        return Endpoint(ip_address(text.strip("[]")), PORT)
    except ValueError:
        pass
    try:
        return Endpoint.parse(text)
    except ValueError:
        raise RelayDnsError(f"relay_dns.{field}: expected an address as ip or ip:port, got {text!r}") from None


def _transfers(config: RelayDnsConfig) -> TransferPolicy:
    if not config.allow_transfer and not config.transfer_key_file:
        return TransferPolicy()
    if not config.allow_transfer or not config.transfer_key_file:
        raise RelayDnsError(
            "relay_dns: transfers need both allow_transfer and transfer_key_file, made by tsig-keygen or keymgr -t"
        )
    try:
        networks = tuple(ip_network(text, strict=False) for text in config.allow_transfer)
    except ValueError as error:
        raise RelayDnsError(f"relay_dns.allow_transfer: {error}") from None
    return TransferPolicy(networks, (read_key_file(Path(config.transfer_key_file)),))


def _update(config: RelayDnsConfig, origin: bytes) -> UpdateTarget | None:
    update = config.update
    if not update.server and not update.key_file:
        return None
    if not update.server or not update.key_file:
        raise RelayDnsError("relay_dns.update needs both server and key_file")
    zone = _name(update.zone, "update.zone") if update.zone else origin
    if not is_within(origin, zone):
        raise RelayDnsError(f"relay_dns.update.zone {update.zone} does not hold {config.zone}")
    return UpdateTarget(_endpoint(update.server, "update.server"), zone, read_key_file(Path(update.key_file)))
