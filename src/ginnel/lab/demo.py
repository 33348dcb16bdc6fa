"""`python -m ginnel.lab.demo`: the main job on one machine in half a minute, for somebody who watches.

Room: lab. A server with its relay and two machines behind home routers of their own, in network namespaces that are
gone afterwards. UDP between the two homes is held up until relayed traffic was seen, so that the change to the direct
path can be watched; without that it is over in a blink.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

from ginnel.lab import LabError
from ginnel.lab.instance import Lab, can_stand
from ginnel.lab.kinds import SERVER, kind_named
from ginnel.lab.members import GinnelNode
from ginnel.lab.mesh import Mesh
from ginnel.lab.probe import probe
from ginnel.lab.rootless import AGAIN_MARK, as_root_of_our_own, settle_in
from ginnel.lab.scenario import Blocked, Expect, Member, Scenario
from ginnel.lab.screen import Screen, Table, amount
from ginnel.lab.traffic import throughput

ALICE, BOB = "alice", "bob"
DEMO = Scenario(
    "demo",
    "two homes",
    (Member(ALICE, "easy"), Member(BOB, "easy")),
    (Expect(ALICE, BOB, "direct"),),
    faults=(Blocked(ALICE, BOB),),
)
RELAY_SHOWN = 2.5
DIRECT_LIMIT = 15.0
DIRECT_SHOWN = 1.5
POUR = 3.0
FRAME = 0.1
CURL_LIMIT = 10.0
RELAYS = ".Regions[].Nodes[]"


def main() -> int:
    """0 when the pair became direct and data moved; one line on stderr otherwise."""
    try:
        if os.geteuid() != 0:
            as_root_of_our_own([sys.executable, "-m", "ginnel.lab.demo"])
        if os.environ.get(AGAIN_MARK):
            settle_in()
        can_stand()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        show(Screen(sys.stdout))
    except (LabError, OSError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def show(screen: Screen) -> None:
    started = time.monotonic()
    with Lab(DEMO.topology()) as lab:
        networks(screen, lab)
        mesh = Mesh(lab, DEMO, screen.step)
        mesh.start()
        for fault in DEMO.faults:
            mesh.block_udp(fault)
        alice, bob = mesh.ours[ALICE], mesh.ours[BOB]
        with mesh.stream(DEMO.pairs[0]) as talk:
            screen.title("UDP between the homes is held up: the pair talks by the relay, end to end encrypted")
            screen.step(f"first byte from {ALICE} to {BOB} after {talk.seconds_to_first_byte * 1000:.0f} ms")
            watch(screen, alice, bob, RELAY_SHOWN, stop_when_direct=False)
            lab.unblock()
            screen.title("now UDP passes: the same connection moves to the direct path, nobody opened a port")
            took = watch(screen, alice, bob, DIRECT_LIMIT, stop_when_direct=True)
            if took is None:
                raise LabError(f"the pair was still relayed {DIRECT_LIMIT:g} s after UDP passed")
            watch(screen, alice, bob, DIRECT_SHOWN, stop_when_direct=False)
            screen.step(
                f"direct {took:.2f} s after UDP passed; the connection carried {amount(talk.received)} unbroken"
            )
        rate = throughput(lab.spaces[ALICE], lab.spaces[BOB], bob.address, POUR)
        screen.title(f"one TCP stream through the tunnel: {rate / 1e9:.2f} Gbit/s (all on this machine)")
        derp_map(screen, lab, mesh)
    screen.title(f"done in {time.monotonic() - started:.0f} s; the networks are gone again")


def networks(screen: Screen, lab: Lab) -> None:
    screen.title("two homes and a server, each in network namespaces of its own")
    homes = [
        f"{name} {lab.addresses[name]} --[ home router {lab.addresses[f'nat-{name}']} ]--" for name in (ALICE, BOB)
    ]
    width = max(map(len, homes))
    screen.lines(
        f"   {homes[0]:-<{width}}+",
        f"   {'':{width}}+-- internet -- server and relay {lab.addresses[SERVER]}",
        f"   {homes[1]:-<{width}}+",
    )
    for member in DEMO.members:
        differences = kind_named(member.kind).traits.differences(probe(lab, member.name))
        if differences:
            raise LabError(f"the network of {member.name} is not what it should be: {'; '.join(differences)}")
    lab.reset_nats()
    screen.step("both NATs probed: one mapping for all destinations, nothing comes in uninvited")


def watch(screen: Screen, alice: GinnelNode, bob: GinnelNode, limit: float, *, stop_when_direct: bool) -> float | None:
    """The table, live; seconds until both ends are direct, where that is waited for."""
    started = time.monotonic()
    table = Table(screen)
    while (now := time.monotonic()) < started + limit:
        table.draw([row(alice, bob), row(bob, alice)])
        ways = alice.way_to(bob.address), bob.way_to(alice.address)
        if stop_when_direct and all(way.path == "direct" for way in ways):
            return now - started
        time.sleep(FRAME)
    return None


def row(node: GinnelNode, peer: GinnelNode) -> tuple[str, ...]:
    """One line of a node's status: node, peer, address, path, traffic."""
    for found in ((node.status() or {}).get("Peer") or {}).values():
        if peer.address in (found.get("TailscaleIPs") or []):
            path = f"direct {found['CurAddr']}" if found.get("CurAddr") else f'relay "{found.get("Relay", "")}"'
            traffic = f"tx {amount(found.get('TxBytes', 0))} rx {amount(found.get('RxBytes', 0))}"
            return node.name, peer.name, peer.address, path if found.get("Active") else "-", traffic
    return node.name, peer.name, peer.address, "-", ""


def derp_map(screen: Screen, lab: Lab, mesh: Mesh) -> None:
    """The line that anybody may type; -k because the lab's server signed its certificate itself."""
    url = f"{mesh.server.url}/derpmap/default"
    screen.title(f"curl -sk {url} | jq '{RELAYS}'")
    screen.step("-k: this server signed its own certificate; nodes pin it by its digest, CertName")
    if shutil.which("curl") is None:
        return screen.lines("   curl is not installed here")
    answer = lab.spaces[ALICE].run(["curl", "-sk", "--fail", "--max-time", str(CURL_LIMIT), url])
    pretty = lab.spaces[ALICE].run(["jq", RELAYS], answer) if shutil.which("jq") else answer
    return screen.lines(*(f"   {line}" for line in pretty.strip().splitlines()))


if __name__ == "__main__":
    sys.exit(main())
