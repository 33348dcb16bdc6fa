"""By which technique a pair became direct, told from the endpoints in use; and what decided, where it did not.

Room: lab. No program is asked how it did it: an endpoint that its owner never told anybody was found by probing, one in
a LAN needs no router, and the rest follows from what the two networks let in.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from ginnel.lab import LabError
from ginnel.lab.expected import Technique, opens_by_itself, role
from ginnel.lab.kinds import kind_named
from ginnel.lab.members import Way
from ginnel.lab.mesh import Mesh
from ginnel.lab.scenario import Expect

LANS = ip_network("192.168.0.0/16")
SHOWN = 5


def technique_of(mesh: Mesh, pair: Expect, kinds: tuple[str, str], ways: tuple[Way, Way]) -> Technique:
    """ways: a's to b, and b's to a; both are direct."""
    owners = (pair.b, pair.a)
    if all(address_of(way.endpoint) in LANS for way in ways):
        return "local"
    told = [way.endpoint in advertised(mesh, owner) for way, owner in zip(ways, owners, strict=True)]
    return deduced(kinds, (told[1], told[0]))


def deduced(kinds: tuple[str, str], told: tuple[bool, bool]) -> Technique:
    """told: whether a's endpoint, and b's, as the other uses it, is one that its owner advertises."""
    traits = [kind_named(kind).traits for kind in kinds]
    roles = [role(side) for side in traits]
    if any(map(opens_by_itself, traits)):
        return "answer"
    if any(known and side.maps_by for side, known in zip(traits, told, strict=True)):
        return "mapping"
    if "address" in roles:
        return "punch"
    if all(told):
        return "punch"  # a quiet one leaves no other trace
    found = {name for name, known in zip(roles, told, strict=True) if not known}
    if "sequential" in found:
        return "prediction"
    return "birthday" if found & {"hard", "open"} else "quiet-punch" if "bare" in found else "punch"


def address_of(endpoint: str) -> object:
    return ip_address(endpoint.rpartition(":")[0].strip("[]"))


def advertised(mesh: Mesh, owner: str) -> list[str]:
    """The endpoints that a node of ours or an official daemon tells; an official library says none."""
    asked = mesh.ours.get(owner) or mesh.daemons.get(owner)
    status = (asked.status() if asked is not None else None) or {}
    return [str(endpoint) for endpoint in status.get("Self", {}).get("Addrs") or []]


def deciding_facts(mesh: Mesh, pair: Expect) -> str:
    """What each end advertises, and what its outermost router keeps towards the other's network."""
    facts = []
    for end, other in ((pair.a, pair.b), (pair.b, pair.a)):
        facts.append(f"{end} advertises {', '.join(advertised(mesh, end)) or 'nothing known'}")
        routers = mesh.lab.topology.path_to_internet(end)
        if routers:
            facts.append(f"{routers[-1]} maps towards it {mappings(mesh, routers[-1], outsides(mesh, other))}")
    return "; ".join(facts)


def outsides(mesh: Mesh, name: str) -> list[str]:
    """By what the internet knows a host: its outermost router's IPv4 address, its own of IPv6."""
    known = (mesh.lab.addresses.get(mesh.lab.topology.edge(name)), mesh.lab.plan.addresses6.get(name))
    return [address for address in known if address is not None]


def mappings(mesh: Mesh, router: str, towards: list[str]) -> str:
    """`inside port>outside port` of each tracked flow, answered or not."""
    try:
        families = ("ipv4", "ipv6") if mesh.lab.topology.has_v6 else ("ipv4",)
        tracked = "".join(mesh.lab.spaces[router].run(["conntrack", "-L", "-p", "udp", "-f", f]) for f in families)
    except LabError as error:
        return str(error)
    flows = [flow_of(line) for line in tracked.splitlines() if any(f"={address} " in line for address in towards)]
    more = f" and {len(flows) - SHOWN} more" if len(flows) > SHOWN else ""
    return (", ".join(flows[:SHOWN]) or "nothing") + more


def flow_of(line: str) -> str:
    """A line of `conntrack -L`: the first source port is the inside's, the last destination port the mapping."""
    sources = [word.removeprefix("sport=") for word in line.split() if word.startswith("sport=")]
    targets = [word.removeprefix("dport=") for word in line.split() if word.startswith("dport=")]
    origin = next((word.removeprefix("src=") for word in line.split() if word.startswith("src=")), "")
    state = "unreplied" if "[UNREPLIED]" in line else "answered"
    return f"{origin}:{sources[0]}>{targets[-1]} to {targets[0]} {state}" if sources and targets else line
