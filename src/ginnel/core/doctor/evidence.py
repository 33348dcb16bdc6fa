"""What was observed, before anybody draws a conclusion: of this machine, and of a pair.

Room: core. Plain values; shell/doctor fills them. None always means: not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ginnel.wire.doctor import FirewallTold, Testimony


@dataclass(frozen=True, slots=True)
class Clock:
    """`ahead`: seconds by which this machine's clock is before the source's (a Date header, with a second's grain)."""

    source: str
    ahead: float


@dataclass(frozen=True, slots=True)
class NameSeen:
    """A name that the mesh needs. `found`: what the resolver says; `known`: the DERP map's addresses for it, () where
    the map leaves it to DNS. `problem`: "" or why there is no answer. `lied`: the answer is false. `needed`: nothing
    else leads there."""

    name: str
    found: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    problem: str = ""
    lied: bool = False
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt at TCP 443, TLS and what is behind it. `blocking`: "none", or what the failure looks like, in the
    words of core/firewall/verdict.py. `issuer`: of a certificate that is not the right one."""

    place: str
    blocking: str = "none"
    detail: str = ""
    issuer: str = ""

    @property
    def works(self) -> bool:
        return self.blocking == "none"


@dataclass(frozen=True, slots=True)
class RelaySeen:
    """One relay. `https`: None, not asked (it has no DERP). `stun`: whether it answered a socket of this command."""

    region: int
    code: str
    node: str
    https: Probe | None = None
    stun: bool | None = None

    @property
    def name(self) -> str:
        return f"region {self.code} (node {self.node})"


class Port80(StrEnum):
    """What came back for /generate_204."""

    TRUE = "true"
    FORGED = "forged"
    STRIPPED = "stripped"
    SILENT = "silent"
    UNASKED = "unasked"


@dataclass(frozen=True, slots=True)
class Daemon:
    """What ginneld says of itself. `control_address`: where the server answered last."""

    state: str
    version: str = ""
    port: int = 0
    wanted_port: int = 0
    control_url: str = ""
    control_connected: bool = False
    control_address: str = ""
    control_problem: str = ""
    key_expired: bool = False
    tunnel_problem: str = ""
    health: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clash:
    """Something else on this machine has to do with mesh addresses. `what`: "address 100.64.0.9/10 on eth0", "route
    ...". `covers`: mesh addresses in use that it covers. `steals`: packets to them leave by it, not by the tunnel."""

    what: str
    covers: tuple[str, ...] = ()
    steals: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """This machine. `daemon` None: ginneld does not run; then what needs it is unknown. `peers_of`: by region, the
    machines whose home it is. `udp_refused`: our own kernel refused to send a STUN packet. `udp_elsewhere`: UDP to a
    port other than 3478 was seen to reach a relay. `way_out`: there is a default route. `holder`: who has the port.
    `control_trusted`: whether there is a key or a pin by which the server's certificate could be judged. `witnesses`:
    what peers say of their network, where something is out of reach from here. `unlooked`: what could not be looked at,
    and why. `resolvers`: whom this machine asks for names, `resolved`: by systemd-resolved, which has a command of its
    own. `unit`: systemd runs ginneld here. `proxy`: that the environment names. `alone`: no
    other machine of the mesh is shown to it."""

    name: str
    program: str = ""
    why_down: str = ""
    daemon: Daemon | None = None
    network: Testimony | None = None
    clocks: tuple[Clock, ...] = ()
    names: tuple[NameSeen, ...] = ()
    control: Probe | None = None
    control_trusted: bool | None = None
    relays: tuple[RelaySeen, ...] = ()
    port80: Port80 = Port80.UNASKED
    udp_refused: bool = False
    udp_elsewhere: bool | None = None
    way_out: bool | None = None
    gateway_answers: bool | None = None
    tun_device: bool | None = None
    clashes: tuple[Clash, ...] = ()
    holder: str = ""
    firewall: FirewallTold | None = None
    global_v6: bool = False
    peers_of: tuple[tuple[int, tuple[str, ...]], ...] = ()
    alone: bool = False
    root: bool = True
    witnesses: tuple[Testimony, ...] = ()
    unlooked: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    resolvers: tuple[str, ...] = ()
    resolved: bool = False
    unit: bool = True
    proxy: str = ""

    def homed_in(self, region: int) -> tuple[str, ...]:
        return dict(self.peers_of).get(region, ())


class Source(StrEnum):
    """How the other end's testimony came."""

    TUNNEL = "its own word, through the tunnel"
    SERVER = "its own word, by way of the server"
    MAP = "what the net map tells of it"


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """The net map's word on the peer. `ours`: it runs ginnel. `system`: its operating system."""

    name: str
    address: str = ""
    online: bool | None = None
    expired: bool = False
    ours: bool = False
    version: str = ""
    home: int = 0
    endpoints: tuple[str, ...] = ()
    system: str = ""


@dataclass(frozen=True, slots=True)
class PingSeen:
    """What pings of this command found: `direct` the endpoint of the last answer, `relay` the region's code."""

    answered: bool = False
    direct: str = ""
    relay: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """This machine and one peer. `own`: what our daemon knows; `theirs` and `source`: of the other end. `silence`: why
    the peer itself said nothing."""

    host: Host
    peer: PeerFacts
    own: Testimony
    ping: PingSeen
    theirs: Testimony | None = None
    source: Source = Source.MAP
    silence: str = ""
