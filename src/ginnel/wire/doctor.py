"""What one end of a pair knows about the way to the other: the answer of the peer API's `/v0/doctor`, and of the same
question by way of the server (ours alone; docs/protocol/doctor.md).

Room: wire. A peer's answer is a stranger's: lists and texts are bounded, and any bytes give a message or a WireError.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ginnel.wire.read import Malformed
from ginnel.wire.tailcfg import Message
from ginnel.words import NodeKey

ANSWER_LIMIT = 64 * 1024
WAYS, STEPS, RELAYS, ENDPOINTS = 64, 64, 512, 64

TEXT_LIMIT = 300

Text = Annotated[str, msgspec.Meta(max_length=TEXT_LIMIT)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class WayTold(Message, frozen=True):
    """One endpoint of the other end: pings sent there, pongs and pings that came from there. `shunned`: why the way is
    left alone, "" if it is not."""

    endpoint: Text
    asked: Count = 0
    answered: Count = 0
    heard: Count = 0
    latency: Seconds | None = None
    shunned: Text = ""


class Step(Message, frozen=True):
    """One line of the story: `what` in words, `ago` and `since` seconds before the answer."""

    what: Text
    endpoint: Text = ""
    since: Seconds = 0.0
    ago: Seconds = 0.0
    times: Count = 1
    why: Text = ""


class RelayTold(Message, frozen=True):
    """One region as this end finds it. `latency`: None, no answer in the last checks. `problem`: why the last dial
    failed."""

    region: Count
    connected: bool = False
    latency: Seconds | None = None
    problem: Text = ""


class PortMapTold(Message, frozen=True):
    """The home router: which protocols it offers, what it forwards. `double_nat`: its outside address is no public
    one."""

    router: Text = ""
    offers: Annotated[tuple[Text, ...], msgspec.Meta(max_length=8)] = ()
    external: Text = ""
    double_nat: bool = False
    problem: Text = ""


class Stopped(Message, frozen=True):
    """Something that the machine's own rules stop altogether: `need` as in core/firewall/own_rules.py, `rule` the one
    that does it, `opens` the command that lets it through; these two for its own user alone."""

    need: Text
    rule: Text = ""
    opens: Text = ""


class FirewallTold(Message, frozen=True):
    """The machine's own firewall. `closed`: whether it keeps uninvited packets from the tunnel's port; None: could not
    be told. `opens`: the command that lets them in. `rule`: what decides; for its own user alone, as `opens` is."""

    backend: Text = ""
    closed: bool | None = None
    rule: Text = ""
    opens: Text = ""
    stopped: Annotated[tuple[Stopped, ...], msgspec.Meta(max_length=8)] = ()

    def without_rules(self) -> FirewallTold:
        """For others: rules have comments and addresses of third parties in them."""
        stopped = tuple(Stopped(one.need) for one in self.stopped)
        return FirewallTold(self.backend, self.closed, stopped=stopped)


class Testimony(Message, frozen=True):
    """One end. Of the network: `udp` STUN answered, `varies` hard NAT, `seen_v4` and `seen_v6` by STUN, `port` bound,
    `wanted_port`, `control` whether the map stream stands, `hops` the first routers on the way out, `local` addresses
    and `told` endpoints, `others_direct` peers that are direct just now by addresses outside this network. Of the pair:
    `policy`, `direct` endpoint in use, `searching` for so many seconds, `lets_in` whether the packet filter has a rule
    for the other end; `nat` and `peer_nat`: as a search for ports saw both ("easy", "sequential", "random", "unknown"),
    `search_ended`: why it found nothing, `guessing`: it is allowed."""

    program: Text = ""
    name: Text = ""
    udp: bool | None = None
    ipv4: bool = False
    ipv6: bool = False
    varies: bool | None = None
    seen_v4: Text = ""
    seen_v6: Text = ""
    port: Port = 0
    wanted_port: Port = 0
    local: Annotated[tuple[Text, ...], msgspec.Meta(max_length=ENDPOINTS)] = ()
    told: Annotated[tuple[Text, ...], msgspec.Meta(max_length=ENDPOINTS)] = ()
    portal: bool | None = None
    control: bool | None = None
    hops: Annotated[tuple[Text, ...], msgspec.Meta(max_length=8)] = ()
    guessing: bool = True
    nat: Text = "unknown"
    peer_nat: Text = "unknown"
    search_ended: Text = ""
    home: Count = 0
    relays: Annotated[tuple[RelayTold, ...], msgspec.Meta(max_length=RELAYS)] = ()
    port_map: PortMapTold | None = None
    firewall: FirewallTold | None = None
    others_direct: Count = 0
    policy: Text = "auto"
    direct: Text = ""
    latency: Seconds | None = None
    wire_mtu: Count = 0
    active: bool = False
    searching: Seconds | None = None
    lets_in: bool | None = None
    sent_calls: Count = 0
    heard_calls: Count = 0
    handshake: Seconds | None = None
    heard: Seconds | None = None
    ways: Annotated[tuple[WayTold, ...], msgspec.Meta(max_length=WAYS)] = ()
    story: Annotated[tuple[Step, ...], msgspec.Meta(max_length=STEPS)] = ()


class PairQuestion(Message, frozen=True):
    """`POST /machine/doctor`: what does `peer` know of the way to `node_key`, who asks?"""

    node_key: NodeKey
    peer: NodeKey


def parse_testimony(body: bytes) -> Testimony:
    """Raises WireError."""
    if len(body) > ANSWER_LIMIT:
        raise Malformed(f"a testimony of {len(body)} bytes, expected at most {ANSWER_LIMIT}")
    try:
        return msgspec.json.decode(body, type=Testimony)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"testimony: {error}") from None
