"""A mapping by UPnP IGD: the device's description, the best of its services, then SOAP (tailscale:
net/portmapper/upnp.go).

Room: core. One request at a time; each answer is followed by the next question. All goes to the gateway's address,
whatever a URL says. The steps:

    description -> (of several services: status, address ... -> the best) -> AddPortMapping -> GetExternalIPAddress
    check: GetSpecificPortMappingEntry -> GetExternalIPAddress, or from AddPortMapping on
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from ginnel.core.node.addresses import is_private
from ginnel.core.node.portmap.actions import Confirmed, Failed, FetchPortmap, Gateway, Granted, Protocol, Step
from ginnel.core.node.portmap.constants import LOCATIONS_TRIED, LOWEST_PORT, UPNP_LIMIT, UPNP_PORTS_TRIED
from ginnel.wire import upnp
from ginnel.wire.read import WireError
from ginnel.wire.upnp import ErrorCode, Service, SoapAnswer, SoapRequest
from ginnel.words import Endpoint, Instant

PERMANENT_ONLY = (ErrorCode.ONLY_PERMANENT_LEASES_SUPPORTED, ErrorCode.INVALID_ARGS)
PORT_IS_TAKEN = (ErrorCode.CONFLICT_IN_MAPPING_ENTRY, ErrorCode.CONFLICT_WITH_OTHER_MECHANISMS)
PRIVATE_OUTSIDE, CONNECTED, NOT_CONNECTED = 2, 1, 0  # how good a service is; a public address ends the search

Answered = Callable[[SoapAnswer], list[Step]]


class ByUpnp:
    """One gateway, one port of ours. `locations`: (port, path) of descriptions on the gateway, best first."""

    protocol = Protocol.UPNP

    def __init__(
        self,
        gateway: Gateway,
        port: int,
        lifetime: int,
        locations: Sequence[tuple[int, str]],
        entropy: Callable[[int], bytes],
    ) -> None:
        self.router = ""
        self._gateway = gateway
        self._internal = Endpoint(gateway.own, port)
        self._lifetime = self._lease = lifetime
        self._locations = list(locations[:LOCATIONS_TRIED])
        self._entropy = entropy
        self._service: Service | None = None
        self._ranked: list[tuple[int, Service]] = []
        self._waiting: list[Service] = []
        self._wish = 0
        self._tries = 0
        self._any_port = True
        self._held: Granted | None = None
        self._number = 0
        self._then: Callable[[int, bytes], list[Step]] | None = None
        self._deadline: Instant | None = None

    def ask(self, wish: int, now: Instant) -> list[Step]:
        """Map, or renew. `wish`: the external port; below 1024: any."""
        self._wish = wish if wish >= LOWEST_PORT else self._random_port()
        self._tries, self._held = 0, None
        self._deadline = Instant(now + UPNP_LIMIT)
        return self._map() if self._service is not None else self._describe()

    def check(self, held: Granted, now: Instant) -> list[Step]:
        if self._service is None:
            return self.ask(held.port, now)
        self._wish, self._tries, self._held = held.port, 0, held
        self._deadline = Instant(now + UPNP_LIMIT)
        return self._call(upnp.get_port_mapping(self._service, held.port), self._entry)

    def release(self, port: int) -> list[Step]:
        if self._service is None or port < LOWEST_PORT:
            return []
        steps = self._call(upnp.delete_port_mapping(self._service, port), lambda _: [])
        self._deadline = None
        return steps

    def fetched(self, number: int, status: int, body: bytes) -> list[Step] | None:
        """The answer to a fetch; status 0: there is none. None: not to the last one."""
        then = self._then
        if number != self._number or then is None:
            return None
        self._then = None
        return self._over(then(status, body))

    def tick(self, now: Instant) -> list[Step]:
        if self._deadline is None or self._deadline > now:
            return []
        self._then = None
        return self._over([Failed("it takes too long")])

    def next_timeout(self) -> Instant | None:
        return self._deadline

    def _over(self, steps: list[Step]) -> list[Step]:
        if any(isinstance(step, Granted | Confirmed | Failed) for step in steps):
            self._deadline = None
        return steps

    # --- which service -----------------------------------------------------------------------------------------

    def _describe(self) -> list[Step]:
        if not self._locations:
            return [Failed("its description names nothing that maps ports")]
        port, path = self._locations.pop(0)

        def described(status: int, body: bytes) -> list[Step]:
            try:
                found = upnp.parse_description(body, port, path) if status == 200 else upnp.Description(())
            except WireError:
                return self._describe()
            self.router = found.name
            self._waiting, self._ranked = list(found.services), []
            if len(found.services) == 1:
                return self._use(found.services[0])
            return self._rank() if found.services else self._describe()

        return self._fetch(port, path, None, described)

    def _rank(self) -> list[Step]:
        """Ask each service whether it is connected, and where; the first with a public address is taken."""
        if not self._waiting:
            return self._use(max(self._ranked, key=lambda known: known[0])[1])  # of equals the first
        service = self._waiting.pop(0)

        def status(answer: SoapAnswer) -> list[Step]:
            if answer.values.get("NewConnectionStatus") in upnp.UP:
                return self._call(upnp.get_external_address(service), address, service)
            self._ranked.append((NOT_CONNECTED, service))
            return self._rank()

        def address(answer: SoapAnswer) -> list[Step]:
            ip = _address(answer)
            if ip is not None and not ip.is_unspecified and not is_private(ip):
                return self._use(service)
            self._ranked.append((CONNECTED if ip is None else PRIVATE_OUTSIDE, service))
            return self._rank()

        return self._call(upnp.get_status(service), status, service)

    def _use(self, service: Service) -> list[Step]:
        self._service = service
        self._any_port = service.type == upnp.WITH_ANY_PORT
        return self._map()

    # --- the mapping -------------------------------------------------------------------------------------------

    def _map(self) -> list[Step]:
        assert self._service is not None
        request = upnp.add_port_mapping(self._service, self._wish, self._internal, self._lease, any_port=self._any_port)
        return self._call(request, self._mapped)

    def _mapped(self, answer: SoapAnswer) -> list[Step]:
        assert self._service is not None
        if not answer.error:
            reserved = answer.values.get("NewReservedPort") if self._any_port else None
            if reserved is not None:
                try:
                    self._wish = upnp.number(reserved, 0xFFFF)
                except WireError:
                    return [Failed("it does not say which port it gave")]
            return self._call(upnp.get_external_address(self._service), self._addressed)
        if answer.error in PERMANENT_ONLY and self._lease:
            self._lease = 0
            return self._map()
        if self._any_port:
            self._any_port, self._lease = False, self._lifetime
            return self._map()
        self._tries += 1
        if answer.error in PORT_IS_TAKEN and self._tries < UPNP_PORTS_TRIED:
            self._wish = self._random_port()
            return self._map()
        return self._lost_service(f"it refuses the mapping (UPnP error {answer.error})")

    def _addressed(self, answer: SoapAnswer) -> list[Step]:
        """A lease without end is renewed as one with an end: the router may forget it by itself."""
        ip = _address(answer)
        if ip is None:
            return self._lost_service("it does not name its address outside")
        held, self._held = self._held, None
        if held is None:
            return [Granted(ip, self._wish, self._lifetime)]
        return [Confirmed()] if held.external == ip else self._map()

    def _entry(self, answer: SoapAnswer) -> list[Step]:
        """A router that does not know the mapping, gives it to somebody else, or cannot say, is asked to map."""
        assert self._service is not None
        ours = (str(self._internal.ip), str(self._internal.port))
        if not answer.error and (
            answer.values.get("NewInternalClient"), answer.values.get("NewInternalPort")
        ) == ours:  # fmt: skip
            return self._call(upnp.get_external_address(self._service), self._addressed)
        self._held = None
        return self._map()

    def _lost_service(self, why: str) -> list[Step]:
        """What was learnt of the device may be void."""
        self._service = None
        return [Failed(why)]

    # --- requests ----------------------------------------------------------------------------------------------

    def _call(self, request: SoapRequest, then: Answered, service: Service | None = None) -> list[Step]:
        to = service or self._service
        assert to is not None

        def answered(status: int, body: bytes) -> list[Step]:
            if not status:
                return self._lost_service("it does not answer by HTTP")
            try:
                return then(upnp.parse_soap(body))
            except WireError:
                return then(SoapAnswer(upnp.OTHER_ERROR))

        return self._fetch(to.port, to.path, request, answered)

    def _fetch(
        self, port: int, path: str, soap: SoapRequest | None, then: Callable[[int, bytes], list[Step]]
    ) -> list[Step]:
        self._number = int.from_bytes(self._entropy(6), "big")
        self._then = then
        return [FetchPortmap(self._number, self._gateway.address, port, path, soap)]

    def _random_port(self) -> int:
        return LOWEST_PORT + int.from_bytes(self._entropy(4), "big") % (65536 - LOWEST_PORT)


def _address(answer: SoapAnswer) -> IPv4Address | None:
    try:
        return upnp.external_address(answer) if not answer.error else None
    except WireError:
        return None
