"""The words of the plan: why each rule, what breaks without it, how that looks to a user; and the warnings.

Room: core. `{port}` is the rule's own port, `{usual}` the id of the rule for the usual port.
"""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """Of one need."""

    why: str
    breaks: str
    looks_like: str


HTTPS = Words(
    "The coordination server, sign-in, logs and every relay are reached by HTTPS. A machine must reach the relays of "
    "all regions, since each of its peers has a home relay of its own, and relays are added from time to time.",
    "No machine logs in or hears of changes without the server; without a relay, peers that have their home there are "
    "out of reach, and pairs without a direct path lose each other.",
    "Not like a firewall: `ginnel up` does not end, or everything works except some pairs of machines, which seem "
    "picked at random. `ginnel firewall verify` names the relay.",
)
OTHER_PORT = Words(
    "As `{usual}`: some hosts of this mesh use port {port} instead.",
    "As `{usual}`, for these hosts.",
    "As `{usual}`.",
)
TUNNEL = Words(
    "Direct tunnels: WireGuard leaves from UDP port {port} for whatever address and port a peer has, behind any home "
    "router, guest Wi-Fi or mobile network.",
    "No direct path: all traffic goes by a relay, still end-to-end encrypted.",
    'Slower, with a higher latency: `ginnel status` shows relay "..." for every peer, `ginnel ping` says "via DERP".',
)
TUNNEL_ANY_PORT = Words(
    "Direct tunnels: WireGuard leaves from a UDP port that is another at each start, for whatever address and port a "
    "peer has, behind any home router, guest Wi-Fi or mobile network.",
    TUNNEL.breaks,
    TUNNEL.looks_like,
)
STUN = Words(
    "Relays tell a machine behind a NAT its public address and port, and whether these are the same for every "
    "destination (an easy NAT) or not (a hard NAT).",
    "Machines behind a NAT do not learn where their peers could reach them; fewer pairs go direct, and the nearest "
    "relay is found by HTTPS instead.",
    '`ginnel netcheck` says "UDP: false"; more peers than before show relay "..." in `ginnel status`.',
)
PORTAL = Words(
    "Captive portals, as in hotels and planes, are noticed by asking a relay for http://.../generate_204.",
    "Nothing but this notice: the question times out.",
    "No warning in `ginnel status` when a portal wants a log-in first; dropping it is safe.",
)
TUNNEL_IN = Words(
    "Peers behind hard NATs can reach this machine directly. It may be enough on one of the two machines of a pair.",
    "Pairs with a hard NAT on both sides stay on a relay.",
    '`ginnel status` keeps showing relay "..." for some peers, also under traffic.',
)

RELAYS_USE = "relayed traffic, and finding direct paths, with machines whose home is the relay's region"
RELAYS_BREAK = "machines whose home is the region cannot be reached, others can: apparently random pairs lose contact"

PINNED = (
    "Pinned destinations break the mesh some day: relays are added, moved and removed without notice, and one that is "
    "missing from the list cuts off apparently random pairs of machines. Allow TCP *:443, UDP *:3478 and UDP to *:* if "
    "you can; else keep the list in sync by a program (`ginnel firewall sync`), not by hand."
)
RANDOMIZED = (
    "The policy says randomizeClientPort: tunnels leave from another UDP port at each start, so no rule names it, and "
    "there is no one port to let in."
)
NO_SERVER = (
    "A DERP map does not name the coordination server: let its host through as well (443/tcp), or name it by "
    "--server URL."
)
NO_PORT = (
    "The daemon has no fixed UDP port, so no rule names it, and there is no one port to let in; `ginneld --port 41641` "
    "fixes it."
)
TOO_MANY_PORTS = (
    "The DERP map names more than {limit} {transport} ports besides {usual}: the least used are left out. "
    "Is this map yours?"
)
