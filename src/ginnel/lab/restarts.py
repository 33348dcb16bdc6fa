"""Programs that go away in the middle and come back.

Room: lab.
"""

from __future__ import annotations

import time

from ginnel.lab import LabError
from ginnel.lab.mesh import Mesh, named
from ginnel.lab.processes import until
from ginnel.lab.scenario import Expect
from ginnel.lab.talk import Note, Talk

RESUME_LIMIT = 5.0
RETURN_LIMIT = 30.0


def daemon_comes_back(mesh: Mesh, expect: Expect, talk: Talk, note: Note) -> None:
    """Our daemon is killed without a warning and started again: traffic both ways resumes in under 5 s."""
    node = mesh.ours[expect.a]
    before = node.address
    if node.daemon is not None:
        node.daemon.kill()
    started = time.monotonic()
    try:
        node.start()
        until(lambda: talk.alive() or None, RETURN_LIMIT, f"traffic of {node.name} to resume")
    except LabError as error:
        return note("resumes-after-kill", False, str(error))
    took = time.monotonic() - started
    same = before in ((node.status() or {}).get("TailscaleIPs") or [])
    words = f"{took:.2f} s, {'the same' if same else 'another'} address"
    return note("resumes-after-kill", took < RESUME_LIMIT and same, words)


def server_comes_back(mesh: Mesh, expect: Expect, talk: Talk, note: Note) -> None:
    """After a restart of the server both are online again, as the machines they were, and still talk."""
    node, peer = mesh.ours[expect.a], mesh.nodes[expect.b]
    try:
        mesh.server.restart()
        until(lambda: mesh.server.online([node.address, peer.address]) or None, RETURN_LIMIT, "both to be online again")
        until(lambda: talk.alive() or None, RETURN_LIMIT, "traffic after the restart")
        until(lambda: named(node, expect.b) == peer.address or None, RETURN_LIMIT, f"{expect.b} to be known as before")
    except LabError as error:
        return note("no-login-after-restart", False, str(error))
    state = (node.status() or {}).get("BackendState")
    return note("no-login-after-restart", state == "Running", f"{node.name} is {state}, {expect.b} as before")
