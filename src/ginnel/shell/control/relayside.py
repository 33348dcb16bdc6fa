"""The relay beside the server: starts it, and says how clients reach it.

Room: shell. Imported only where a relay is wanted: it opens the door to Rust.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from ginnel.shell.control.beside import RelayBeside, StartError
from ginnel.shell.control.config import ServerConfig, host_of, port_of, split_endpoint
from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_orders import RelayOrders
from ginnel.shell.relay_settings import LETS_ENCRYPT, AcmeSettings, RelayError, RelaySettings, listen_anywhere
from ginnel.shell.systemd import inherited_sockets
from ginnel.wire.relaycontrol import RelayOrder
from ginnel.wire.tailcfg import DERPRegion
from ginnel.words import NodeKey, RegionId, WallTime

log = logging.getLogger("ginnel.relay")


class StartedRelay(RelayBeside):
    def __init__(self, relay: EmbeddedRelay) -> None:
        self._relay = relay
        self._orders = RelayOrders(relay.native, lambda _: None)

    @property
    def key(self) -> NodeKey:
        return self._relay.key

    def send(self, order: RelayOrder) -> None:
        self._orders.take(order)

    def clients(self) -> int:
        return self._orders.clients()

    def mesh_links(self) -> int:
        return self._orders.mesh_links()

    def counters(self) -> dict[str, int]:
        return self._relay.native.counters()

    @property
    def region(self) -> DERPRegion:
        return self._relay.region

    @property
    def pin(self) -> bytes | None:
        leaf = self._relay.leaf
        return bytes.fromhex(leaf.pin.removeprefix("sha256-raw:")) if leaf.self_signed else None

    def add_member(self, key: NodeKey) -> None:
        self._relay.add_member(key)

    def remove_member(self, key: NodeKey) -> None:
        self._relay.remove_member(key)

    def set_bootstrap_dns(self, published: str, unpublished: Mapping[str, str]) -> None:
        self._relay.set_bootstrap_dns(published, unpublished)

    def tick(self, *, look: bool = False) -> bool:
        try:
            return self._relay.tick(WallTime(time.time()), look=look)
        except RelayError as error:
            log.warning("%s", error)
            return False

    @asynccontextmanager
    async def numbers(self, host: str, port: int, besides: Sequence[Callable[[], bytes]]) -> AsyncIterator[int]:
        from ginnel.shell.relay_admin import AdminSide, serving  # noqa: PLC0415  (only where it is asked for)

        async with AsyncExitStack() as stack:
            try:
                bound = await stack.enter_async_context(serving(AdminSide(self._relay, besides=besides), host, port))
            except RelayError as error:
                raise StartError(str(error)) from None
            yield bound

    async def retire(self) -> None:
        await self._relay.retire()


def start_relay(config: ServerConfig, state: Path, splice: Path) -> RelayBeside:
    """Raises StartError."""
    relay = config.relay
    addresses = [ip_address(text) for text in relay.addresses]
    settings = RelaySettings(
        state=state,
        hostname=host_of(config.url),
        tls=_bindable(config.listen),
        http=_bindable(config.listen_http),
        stun=_bindable(config.stun_listen),
        certificate=Path(config.certificate) if config.certificate else None,
        certificate_key=Path(config.certificate_key) if config.certificate_key else None,
        acme=_acme(config),
        splice=splice,
        inherited=inherited_sockets(),
        members_only=relay.members_only,
        region=RegionId(relay.region),
        region_code=relay.code,
        region_name=relay.name,
        ipv4=next((str(ip) for ip in addresses if isinstance(ip, IPv4Address)), ""),
        ipv6=next((str(ip) for ip in addresses if not isinstance(ip, IPv4Address)), ""),
        derp_port=port_of(config.url) if config.url.startswith("https:") else 0,
    )
    try:
        return StartedRelay(EmbeddedRelay.start(settings, WallTime(time.time())))
    except RelayError as error:
        raise StartError(f"the relay cannot start: {error}; or run without it: --no-relay") from None


def _acme(config: ServerConfig) -> AcmeSettings | None:
    given = config.acme
    if given is None:
        return None
    return AcmeSettings(given.url or LETS_ENCRYPT, Path(given.ca) if given.ca else None, given.email)


def _bindable(endpoints: tuple[str, ...]) -> tuple[str, ...]:
    """`[::]` is IPv4 too, and on a system without IPv6 it is IPv4 alone."""
    split = [(endpoint, *split_endpoint(endpoint)) for endpoint in endpoints]
    return tuple(listen_anywhere(port) if host == "::" else endpoint for endpoint, host, port in split)
