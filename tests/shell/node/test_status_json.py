"""What a status says of a machine that another program runs on."""

import pytest

from ginnel.core.node.netmap import NetMap
from ginnel.shell.node.status_json import Observed, peer_json
from ginnel.wire.tailcfg import Node
from ginnel.words import NodeKey

SEEN = Observed("Running", "", True, None, "alice", NetMap(), None, {}, ())


@pytest.mark.parametrize("name", ["linux", "macOS", "windows", "iOS", "android", ""])
def test_the_system_is_what_the_machine_itself_calls_it(name: str) -> None:
    hostinfo = {"Hostname": "bob", "OS": name, "OSVersion": "1", "DeviceModel": "x"}
    peer = Node(2, "n2", "bob.mesh.", 1, NodeKey(b"\x02" * 32), ["100.64.0.2/32"], hostinfo=hostinfo)
    assert peer_json(peer, SEEN)["OS"] == name
