"""Relays on machines of their own, of the server's fleet; killed, lost or drained while a pair talks through them.

Room: lab. The relays of `RELAY_REGION` are favoured, so that the members' home is there; the server's own relay, in
another region, is where they can go.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ginnel.lab import LabError
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER
from ginnel.lab.members import Server, ginnel
from ginnel.lab.processes import Process, until
from ginnel.lab.talk import Note, Talk
from ginnel.lab.topology import INTERNET

if TYPE_CHECKING:
    from ginnel.lab.mesh import Mesh
    from ginnel.lab.scenario import Expect

RELAY_REGION = 910
RELAY_CODE = "lab"
OWN_REGION = 900
JOIN_LIMIT = 30.0
KILLED_LIMIT = 8.0
LOST_LIMIT = 35.0
GIVEN_UP = 60.0
STOP_PATIENCE = 10.0
OUT_LIMIT = 40.0
PAYLOAD = bytes(range(256)) * 64


class Relays:
    """`ginnel relay run --join` on each of the scenario's relay hosts. `patience`: seconds that they give their clients
    when they are told to end."""

    def __init__(self, lab: Lab, server: Server, names: tuple[str, ...], patience: float = 0.0) -> None:
        self.lab, self.server, self.names, self.patience = lab, server, names, patience
        self.processes: dict[str, Process] = {}

    def start(self) -> None:
        """Returns when all of them are in the map, in the order of their names."""
        for number, name in enumerate(self.names, 1):
            words = ["--region", str(RELAY_REGION), "--code", RELAY_CODE, "--name", "Lab"]
            token = self.server.ask(f"token-{name}", "relay", "token", "create", *words)
            address = self.lab.addresses[name]
            where = [
                "--hostname",
                address,
                "--state",
                self.lab.inside_path("relay"),
                "--drain-time",
                str(self.patience),
            ]
            self.processes[name] = ginnel(self.lab, name, "relay", "relay", "run", "--join", token, *where)
            until(
                lambda number=number: self.in_map() >= number or None,  # type: ignore[misc]
                JOIN_LIMIT,
                f"the relay {name} to enter the map",
                self.processes[name],
            )
        if self.names:
            self.server.ask("favour", "relay", "region", str(RELAY_REGION), "--score", "0.05")
            self.server.ask("disfavour", "relay", "region", str(OWN_REGION), "--score", "20")

    def listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.server.ask("relay-list", "relay", "list", "--json"))
        return [relay for relay in listed if relay["region"] == RELAY_REGION]

    def in_map(self) -> int:
        return sum(relay["state"] in ("in map", "failing") for relay in self.listed())


def carried_by(mesh: Mesh, expect: Expect) -> str:
    """The region that a's packets to b go by now; "" for none."""
    way = mesh.nodes[expect.a].way_to(mesh.nodes[expect.b].address)
    return way.region or ""


def relay_event(mesh: Mesh, event: str, expect: Expect, talk: Talk, note: Note) -> None:
    """What the scenario is about, once the pair talks by the fleet's relay."""
    try:
        until(lambda: carried_by(mesh, expect) == RELAY_CODE or None, JOIN_LIMIT, "the fleet's relay to carry the pair")
    except LabError as error:
        return note("by-the-fleets-relay", False, f"{error}; it is carried by {carried_by(mesh, expect) or 'nothing'}")
    note("by-the-fleets-relay", True, RELAY_CODE)
    EVENTS[event](mesh, expect, talk, note)
    return None


def killed(mesh: Mesh, expect: Expect, talk: Talk, note: Note) -> None:
    """The first relay of the region dies, another one is there."""
    dies(mesh, talk, note, KILLED_LIMIT, mesh.relays.processes[mesh.relays.names[0]].kill)
    note("same-region", carried_by(mesh, expect) == RELAY_CODE, f"by {carried_by(mesh, expect)}")


def silent(mesh: Mesh, expect: Expect, talk: Talk, note: Note) -> None:
    """The machine of the region's first relay is gone: nothing comes from it, not even a refusal."""
    address = mesh.lab.addresses[mesh.relays.names[0]]
    dies(
        mesh,
        talk,
        note,
        KILLED_LIMIT,
        lambda: mesh.lab.block(INTERNET, f"ip saddr {address} drop", f"ip daddr {address} drop"),
    )
    note("same-region", carried_by(mesh, expect) == RELAY_CODE, f"by {carried_by(mesh, expect)}")


def stopped(mesh: Mesh, expect: Expect, talk: Talk, note: Note) -> None:
    """The region's first relay ends as its operator wishes: clients go to the second one before."""
    first = mesh.relays.processes[mesh.relays.names[0]]
    began = time.monotonic()
    first.popen.send_signal(signal.SIGTERM)
    losses = 0
    while first.ended() is None and time.monotonic() - began < GIVEN_UP:
        losses += not talk.alive()
        time.sleep(0.1)
    took = time.monotonic() - began
    note("ended", first.ended() == 0 and took <= STOP_PATIENCE + 5.0, f"{took:.1f} s; {first.last_words()[-120:]}")
    losses += not talk.alive()
    note("pings-meanwhile", losses <= 1, f"{losses} lost")
    note("same-region", carried_by(mesh, expect) == RELAY_CODE, f"by {carried_by(mesh, expect)}")
    survives(talk, note)


def lost(mesh: Mesh, expect: Expect, talk: Talk, note: Note) -> None:
    """The only relay of the region dies."""
    dies(mesh, talk, note, LOST_LIMIT, mesh.relays.processes[mesh.relays.names[0]].kill)
    note("another-region", carried_by(mesh, expect) != RELAY_CODE, f"by {carried_by(mesh, expect)}")


def dies(mesh: Mesh, talk: Talk, note: Note, limit: float, how: Callable[[], None]) -> None:
    name = mesh.relays.names[0]
    how()
    began = time.monotonic()
    before = mesh.relays.in_map
    out: list[float] = []
    watching = threading.Thread(target=lambda: out.append(seconds_until_fewer(before, began)), name="map", daemon=True)
    watching.start()
    try:
        until(lambda: talk.alive() or None, GIVEN_UP, "traffic to flow again")
        took = time.monotonic() - began
        note("flows-again", took <= limit, f"{took:.2f} s after {name} was gone, at most {limit:g} s")
    except LabError as error:
        note("flows-again", False, str(error))
    watching.join()
    note("out-of-the-map", out[0] <= OUT_LIMIT, f"after {out[0]:.2f} s")
    survives(talk, note)


def seconds_until_fewer(in_map: Callable[[], int], began: float) -> float:
    """Until the server has taken a relay out of the map."""
    first = in_map()
    with suppress(LabError):
        until(lambda: in_map() < max(first, 1) or None, OUT_LIMIT, "the relay to leave the map")
    return time.monotonic() - began


def drained(mesh: Mesh, expect: Expect, talk: Talk, note: Note) -> None:
    """The clients move home and the relay goes out of use; nothing breaks meanwhile."""
    began = time.monotonic()
    draining = ginnel(
        mesh.lab, SERVER, "drain", "relay", "drain", RELAY_CODE, "--wait", "--deadline", "100s", "--state",
        mesh.server.state,
    )  # fmt: skip
    losses = 0
    while draining.ended() is None and time.monotonic() - began < 150.0:
        losses += not talk.alive()
        time.sleep(0.2)
    took = time.monotonic() - began
    note("drained", draining.ended() == 0, f"{took:.1f} s; {draining.last_words()[-120:]}")
    note("pings-while-draining", losses <= 2, f"{losses} lost")
    region = carried_by(mesh, expect)
    note("another-region", region not in ("", RELAY_CODE), f"by {region}")
    survives(talk, note)


def survives(talk: Talk, note: Note) -> None:
    """The TCP stream that was there before carries a payload now."""
    took = talk.carry(PAYLOAD, 30.0)
    note("stream-goes-on", took is not None, f"{len(PAYLOAD)} bytes in {took:.2f} s" if took else "it broke")


EVENTS: dict[str, Callable[[Mesh, Expect, Talk, Note], None]] = {
    "killed": killed,
    "silent": silent,
    "lost": lost,
    "drained": drained,
    "stopped": stopped,
}
