"""A mapping by PCP: one question and one answer, held together by a nonce (RFC 6887 §11).

Room: core. To renew, to check and to map are the same question: a router that forgot maps again, and says so by its
answer.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from ginnel.core.node.portmap.actions import Failed, Gateway, Granted, Protocol, SendPortmap, Step
from ginnel.core.node.portmap.retry import Retry
from ginnel.wire import pcp
from ginnel.wire.pcp import PcpAnswer
from ginnel.words import Endpoint, Instant

WORDS = {
    pcp.Result.NOT_AUTHORIZED: "port mapping is switched off",
    pcp.Result.NETWORK_FAILURE: "it has no address outside",
    pcp.Result.NO_RESOURCES: "it has no port left",
    pcp.Result.USER_EX_QUOTA: "it gives this machine no more ports",
    pcp.Result.CANNOT_PROVIDE_EXTERNAL: "it cannot give a port",
    pcp.Result.ADDRESS_MISMATCH: "another NAT stands between it and this machine",
}


class ByPcp:
    """One gateway, one port of ours. `nonce`: 12 bytes, the same for as long as the mapping is to be known as ours,
    over restarts too: the router refuses any other until the old mapping ends (§11.3)."""

    protocol = Protocol.PCP

    def __init__(self, gateway: Gateway, port: int, lifetime: int, nonce: bytes) -> None:
        self._to = Endpoint(gateway.address, pcp.PORT)
        self._own = gateway.own
        self._port = port
        self._lifetime = lifetime
        self._nonce = nonce
        self._retry = Retry()
        self._wish = 0

    def ask(self, wish: int, now: Instant) -> list[Step]:
        """Map, or renew. `wish`: the external port; 0: any."""
        self._wish = wish
        self._retry.begin(now)
        return self._send()

    def check(self, held: Granted, now: Instant) -> list[Step]:
        return self.ask(held.port, now)

    def release(self, _: int) -> list[Step]:
        self._retry.done()
        return [SendPortmap(self._to, pcp.map_request(self._own, self._nonce, self._port, 0, 0))]

    def received(self, answer: PcpAnswer) -> list[Step] | None:
        """None: not an answer to anything asked. One with another nonce is somebody else's, or a forger's."""
        if answer.operation != pcp.MAP or not self._retry.open:
            return None
        mapping = answer.mapping
        if mapping is None or (mapping.nonce, mapping.protocol, mapping.internal_port) != (
            self._nonce,
            pcp.UDP,
            self._port,
        ):
            return None
        self._retry.done()
        if answer.result:
            return [Failed(WORDS.get(pcp.Result(answer.result), "") if answer.result in set(pcp.Result) else "")]
        if not isinstance(mapping.external, IPv4Address):
            return [Failed("it gave an address that is not IPv4")]
        return [Granted(mapping.external, mapping.external_port, answer.lifetime)]

    def tick(self, now: Instant) -> list[Step]:
        if not self._retry.due(now):
            return []
        return self._send() if self._retry.again(now) else [Failed("it does not answer")]

    def next_timeout(self) -> Instant | None:
        return self._retry.next

    def _send(self) -> list[Step]:
        request = pcp.map_request(self._own, self._nonce, self._port, self._wish, self._lifetime)
        return [SendPortmap(self._to, request)]
