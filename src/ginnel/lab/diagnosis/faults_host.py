"""The machine itself, the mesh's own will, and a peer that is not there.

Room: lab.
"""

from __future__ import annotations

from pathlib import Path

from ginnel.lab.diagnosis.fault import Fault, Proof, Step, View
from ginnel.lab.diagnosis.faults_pairs import policy
from ginnel.lab.diagnosis.proofs import Prove, proof, stays, tcp
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import SERVER
from ginnel.lab.members import START_LIMIT, answer
from ginnel.lab.namespace import mount

CARRIER, CARRIER_NET = "wwan0", "100.64.0.77/16"
OTHER_VPN = "wg-other"
NOBODY = '{"acls": []}'


def clock_off(*choices: str) -> Step:
    """The machine starts with a wrong clock: its daemon and its commands have it alike."""

    def inject(world: World) -> None:
        if world.alice.daemon is not None:
            world.alice.daemon.stop()
        world.alice.clock = world.rng.choice(choices)
        world.alice.start()

    return inject


def clock_is_off(world: World) -> Proof:
    here = world.lab.start(ALICE, "date", ["date", "+%Y-%m-%d"], world.alice.env)
    there = world.lab.start(BOB, "date", ["date", "+%Y-%m-%d"], world.bob.env)
    return proof(same_day=(answer(here, START_LIMIT) == answer(there, START_LIMIT), False))


def no_device(world: World) -> None:
    world.lab.spaces[ALICE].call(mount, Path("/dev/null"), Path("/dev/net/tun"))


def device_gone(world: World) -> Proof:
    return proof(tun=(world.lab.spaces[ALICE].run(["stat", "-c", "%t:%T", "/dev/net/tun"]).strip(), "1:3"))


def end_daemon(name: str) -> Step:
    def inject(world: World) -> None:
        member = world.members[name]
        if member.daemon is not None:
            member.daemon.stop()
        if name == BOB:
            world.sees(lambda: not online(world.alice.status(), world.bob.address), 10.0)

    return inject


def online(status: dict[str, object] | None, address: str) -> bool:
    peers = ((status or {}).get("Peer") or {}).values()  # type: ignore[attr-defined]
    return any(peer.get("Online") for peer in peers if address in (peer.get("TailscaleIPs") or []))


def unplug(*names: str) -> Step:
    def inject(world: World) -> None:
        for name in names:
            world.lab.spaces[name].run(["ip", "link", "set", "eth0", "down"])

    return inject


def lose_route(world: World) -> None:
    world.lab.spaces[ALICE].run(["ip", "route", "del", "default"])


def router_loses_line(world: World) -> None:
    world.lab.spaces[world.topology.edge(ALICE)].run(["ip", "link", "set", "wan0", "down"])


def cut_off(world: World) -> Proof:
    facts = {f"alice-{target}": (tcp(world, ALICE, target), "open") for target in ("derp-a", SERVER)}
    found = proof(**facts)
    return Proof(not found.holds, found.detail)


def modem_beside(world: World) -> None:
    """A mobile modem, whose carrier gives addresses that the mesh gives as well."""
    second_interface(world, CARRIER, f"address add {CARRIER_NET} dev {CARRIER}")


def second_interface(world: World, name: str, *lines: str) -> None:
    made = (f"link add {name} type veth peer name far-end", "link set far-end up", f"link set {name} up")
    world.lab.spaces[ALICE].run(["ip", "-batch", "-"], "\n".join([*made, *lines, ""]))


def modem_there(world: World) -> Proof:
    shown = world.lab.spaces[ALICE].run(["ip", "-o", "-4", "address", "show", "dev", CARRIER])
    return proof(address=(CARRIER_NET in shown, True))


def other_vpn(world: World) -> None:
    """Another VPN leads the whole range into its own tunnel, before the mesh's rules are asked."""
    route = f"route add 100.64.0.0/10 dev {OTHER_VPN} table 9001"
    second_interface(world, OTHER_VPN, route, "rule add priority 100 to 100.64.0.0/10 lookup 9001")


def led_astray(world: World) -> Proof:
    shown = world.lab.spaces[ALICE].run(["ip", "-o", "route", "get", world.bob.address])
    return proof(other=(OTHER_VPN in shown, True))


def log_out(world: World) -> None:
    answer(world.alice.ask("logout"), START_LIMIT)


def state(name: str, want: str) -> Prove:
    return lambda world: proof(state=(world.sees(lambda: world.members[name].state == want), True))


def expire(world: World) -> None:
    world.admin("nodes", "expire", BOB)
    world.sees(lambda: world.bob.state == "NeedsLogin")


def nobody_may(world: World) -> None:
    policy(NOBODY, world)


def only_bob_may(world: World) -> None:
    """Alice sees bob, since he may speak to her; she may not speak to him."""
    rule = f'{{"action": "accept", "src": ["{world.bob.address}"], "dst": ["{world.alice.address}:*"]}}'
    policy(f'{{"acls": [{rule}]}}', world)


def silent_tunnel(world: World) -> Proof:
    def passes() -> bool:
        pinged = world.lab.start(ALICE, "probe", ["ping", "-n", "-c", "1", "-W", "1", world.bob.address])
        return pinged.wait(START_LIMIT) == 0

    return proof(nothing_passes=(world.sees(lambda: not passes()), True))


def relay_only(world: World) -> None:
    answer(world.alice.ask("path", BOB, "relay"), START_LIMIT)
    world.settle("relay", 20.0)


FAULTS = (
    Fault(
        "clock-behind",
        "host",
        "the machine's clock is a year or more behind",
        (View(ALICE, "clock-wrong"),),
        clock_is_off,
        inject=clock_off("-400d", "-3y"),
    ),
    Fault(
        "clock-ahead",
        "host",
        "the machine's clock is days or years ahead",
        (View(ALICE, "clock-wrong"),),
        clock_is_off,
        inject=clock_off("+3d", "+2y"),
    ),
    Fault("daemon-down", "host", "the daemon does not run", (View(ALICE, "daemon-down"),),
          lambda world: proof(daemon=(world.alice.status(), None)), inject=end_daemon(ALICE)),
    Fault("no-tun", "host", "there is no TUN device for the daemon", (View(ALICE, "no-tun"),), device_gone,
          before=no_device, meets="", joins=False),
    Fault("cgnat-clash", "host", "a modem's network has the addresses that the mesh gives",
          (View(ALICE, "cgnat-clash"),), modem_there, inject=modem_beside),
    Fault("route-clash", "host", "another VPN leads the mesh's addresses into its own tunnel",
          (View(ALICE, "route-clash"), View(ALICE, "route-clash", BOB)), led_astray, inject=other_vpn),
    Fault("unplugged", "network", "the machine's network interface is down", (View(ALICE, "no-internet"),), cut_off,
          inject=unplug(ALICE)),
    Fault("no-route", "network", "the machine has an address and no default route", (View(ALICE, "no-internet"),),
          cut_off, inject=lose_route),
    Fault("line-dead", "network", "the home router has lost its line", (View(ALICE, "no-internet"),), cut_off,
          inject=router_loses_line),
    Fault("never-logged-in", "mesh", "nobody has logged this machine in", (View(ALICE, "not-logged-in"),),
          state(ALICE, "NeedsLogin"), meets="", joins=False),
    Fault("logged-out", "mesh", "the machine was logged out", (View(ALICE, "not-logged-in"),),
          state(ALICE, "NeedsLogin"), inject=log_out),
    Fault("key-expired", "mesh", "the peer's key has expired",
          (View(BOB, "key-expired"), View(ALICE, "peer-key-expired", BOB)),
          state(BOB, "NeedsLogin"), inject=expire),
    Fault("peer-stopped", "mesh", "the peer's daemon has been stopped", (View(ALICE, "peer-offline", BOB),),
          silent_tunnel, inject=end_daemon(BOB)),
    Fault("peer-unplugged", "mesh", "the peer's network is gone, and nobody has said so",
          (View(ALICE, "peer-offline", BOB),), silent_tunnel, inject=unplug(BOB)),
    Fault("policy-denies", "mesh", "the policy lets nobody talk, so that nobody sees the other",
          (View(ALICE, "policy-denies", BOB, also=("peer-unknown",), names=("polic",)),), silent_tunnel,
          inject=nobody_may),
    Fault("policy-denies-one-way", "mesh", "the policy lets the peer speak, and not this machine",
          (View(ALICE, "policy-denies", BOB),), silent_tunnel, inject=only_bob_may),
    Fault("path-policy-relay", "mesh", "the user wants the peer by relay alone",
          (View(ALICE, "path-policy-relay", BOB), View(BOB, "path-policy-relay", ALICE)), stays("relay"),
          inject=relay_only),
)  # fmt: skip
