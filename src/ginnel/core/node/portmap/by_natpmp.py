"""A mapping by NAT-PMP: the address and the port are two questions, asked together (RFC 6886 §3.2, §3.3).

Room: core.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from ginnel.core.node.portmap.actions import Confirmed, Failed, Gateway, Granted, Protocol, SendPortmap, Step
from ginnel.core.node.portmap.epoch import Epoch
from ginnel.core.node.portmap.retry import Retry
from ginnel.wire import natpmp
from ginnel.wire.natpmp import AddressAnswer, MapAnswer, NatPmpAnswer
from ginnel.words import Endpoint, Instant

WORDS = {
    natpmp.Result.NOT_AUTHORIZED: "port mapping is switched off",
    natpmp.Result.NETWORK_FAILURE: "it has no address outside",
    natpmp.Result.OUT_OF_RESOURCES: "it has no port left",
}


class ByNatPmp:
    """One gateway, one port of ours."""

    protocol = Protocol.NATPMP

    def __init__(self, gateway: Gateway, port: int, lifetime: int) -> None:
        self._to = Endpoint(gateway.address, natpmp.PORT)
        self._port = port
        self._lifetime = lifetime
        self._epoch = Epoch()
        self._retry = Retry()
        self._wish = 0
        self._held: Granted | None = None
        self._address: AddressAnswer | None = None
        self._map: MapAnswer | None = None

    def ask(self, wish: int, now: Instant) -> list[Step]:
        """Map, or renew. `wish`: the external port; 0: any."""
        self._wish, self._held, self._address, self._map = wish, None, None, None
        self._retry.begin(now)
        return self._send()

    def check(self, held: Granted, now: Instant) -> list[Step]:
        """The address alone is asked: with it comes the age of the router's table."""
        self._wish, self._held, self._address = held.port, held, None
        self._retry.begin(now)
        return self._send()

    def release(self, _: int) -> list[Step]:
        self._retry.done()
        return [SendPortmap(self._to, natpmp.map_request(self._port, 0, 0))]

    def received(self, answer: NatPmpAnswer, now: Instant) -> list[Step] | None:
        """None: not an answer to anything asked."""
        if not self._retry.open or not self._take(answer):
            return None
        lost = answer.result == 0 and self._epoch.heard(answer.epoch, now)
        if answer.result:
            self._retry.done()
            return [Failed(WORDS.get(natpmp.Result(answer.result), "") if answer.result <= 5 else "")]
        if self._held is not None:
            return self._compare(self._held, lost, now)
        return self._granted()

    def _take(self, answer: NatPmpAnswer) -> bool:
        if answer.result == natpmp.Result.UNSUPPORTED_VERSION:
            return False  # that answers a probe for PCP
        if isinstance(answer, AddressAnswer):
            if self._address is not None:
                return False
            self._address = answer
            return True
        if self._held is not None or self._map is not None:
            return False
        if answer.result == 0 and answer.internal_port != self._port:
            return False
        self._map = answer
        return True

    def _compare(self, held: Granted, lost: bool, now: Instant) -> list[Step]:
        assert self._address is not None
        if lost or self._address.address != held.external:
            return self.ask(held.port, now)
        self._retry.done()
        return [Confirmed()]

    def _granted(self) -> list[Step]:
        if self._address is None or self._map is None:
            return []
        self._retry.done()
        return [Granted(IPv4Address(self._address.address), self._map.external_port, self._map.lifetime)]

    def tick(self, now: Instant) -> list[Step]:
        if not self._retry.due(now):
            return []
        return self._send() if self._retry.again(now) else [Failed("it does not answer")]

    def next_timeout(self) -> Instant | None:
        return self._retry.next

    def _send(self) -> list[Step]:
        packets: list[bytes] = []
        if self._address is None:
            packets.append(natpmp.address_request())
        if self._held is None and self._map is None:
            packets.append(natpmp.map_request(self._port, self._wish, self._lifetime))
        return [SendPortmap(self._to, packet) for packet in packets]
