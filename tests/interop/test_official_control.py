"""Our node in a mesh that is not ours: Tailscale's test control server and its relay (derper), beside its own daemon.

`make interop` builds these programs; without them the test is skipped.
"""

import json
import os
from pathlib import Path
from socket import socket

import pytest

from ginnel.lab import LabError
from ginnel.lab.daemon import OfficialDaemon, official
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER, network
from ginnel.lab.members import UP_LIMIT, GinnelNode, answer, ginnel
from ginnel.lab.processes import until
from ginnel.lab.traffic import Conversation

PROGRAMS = ("tailscaled", "tailscale", "derper", "control")
PATIENCE = 20.0
KEY = "any-word"
PAYLOAD = bytes(range(256)) * 4096


def absent() -> str:
    if os.geteuid() != 0:
        return "needs root: network namespaces are made here"
    try:
        for program in PROGRAMS:
            official(program)
    except LabError as error:
        return str(error)
    return ""


class TheirServer:
    """What a node has to know of it."""

    def __init__(self, lab: Lab) -> None:
        address = lab.addresses[SERVER]
        self.url, self.auth_key = f"http://{address}:8080", KEY
        relay = ["-hostname", address, "-certmode", "manual", "-certdir", lab.inside_path("state/certificates")]
        relay += ["-c", lab.inside_path("state/derper.key"), "-a", ":443", "-http-port", "80"]
        derper = lab.start(SERVER, "derper", [str(official("derper")), *relay])
        pin = derper.wait_for_line(r"sha256-raw:[0-9a-f]{64}", PATIENCE)[0]
        node = {"Name": "900a", "RegionID": 900, "HostName": address, "IPv4": address, "IPv6": "none", "CertName": pin}
        region = {"RegionID": 900, "RegionCode": "their", "RegionName": "Their relay", "Nodes": [node]}
        derp_map = json.dumps({"Regions": {"900": region}})
        control = lab.start(SERVER, "control", [str(official("control")), f"{address}:8080", KEY, derp_map])
        until(lambda: answers(lab, (address, 8080)) or None, PATIENCE, "their server", control)


def answers(lab: Lab, address: tuple[str, int]) -> bool:
    with lab.spaces[SERVER].call(socket) as probe:
        return probe.connect_ex(address) == 0


def says(lab: Lab, *words: str) -> str:
    return answer(ginnel(lab, "alice", words[0], *words), UP_LIMIT)


@pytest.mark.root
@pytest.mark.official_daemon
@pytest.mark.skipif(bool(absent()), reason=absent())
def test_our_node_joins_a_mesh_of_theirs_and_talks_to_their_daemon_both_ways() -> None:
    with Lab(network(alice="easy", their="easy")) as lab:
        server = TheirServer(lab)
        ours, theirs = GinnelNode(lab, "alice"), OfficialDaemon(lab, "their")
        ours.start()
        assert says(lab, "up", "--login-server", server.url, "--auth-key", KEY).endswith("Success.\n")
        theirs.start(Path("/etc/ssl/certs/ca-certificates.crt"))
        theirs.up(server)

        pongs = says(lab, "ping", theirs.address).splitlines()
        assert pongs[-1].startswith(f"pong from their ({theirs.address}) via {lab.addresses['nat-their']}:41641 in ")
        asked = theirs.ask("ping", "ping", ours.address)
        assert (asked.ended(), f"via {lab.addresses['nat-alice']}:41641" in asked.said()) == (0, True), asked.said()
        assert [ours.way_to(theirs.address).path, theirs.way_to(ours.address).path] == ["direct", "direct"]

        for sender, receiver, address in (("alice", "their", theirs.address), ("their", "alice", ours.address)):
            with Conversation(lab.spaces[sender], lab.spaces[receiver], address, PATIENCE) as talk:
                talk.send_and_wait(PAYLOAD, PATIENCE)
                assert talk.intact()

        assert json.loads(says(lab, "debug", "derp", "their"))["Errors"] == []
        assert says(lab, "debug", "ts2021").endswith("all good\n")
        assert (theirs.status() or {})["Health"] == []
