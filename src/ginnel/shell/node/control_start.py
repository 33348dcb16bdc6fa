"""A node's control client: its log-in, its session and the way to its server, as the prefs say.

Room: shell.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ginnel.core.node.control_actions import ControlAction, Report
from ginnel.core.node.control_session import ControlSession
from ginnel.core.node.login import Login
from ginnel.core.node.routing import MARK
from ginnel.shell.node.control_client import ControlClient
from ginnel.shell.node.host_finder import HostFinder
from ginnel.shell.node.state import State
from ginnel.words import DiscoKey


def control_client(
    state: State,
    report: Report,
    *,
    disco: DiscoKey,
    draw: Callable[[], bytes],
    finder: HostFinder,
    tell: Callable[[ControlAction], None],
    changed: Callable[[], None],
) -> ControlClient:
    """`draw`: 32 random bytes for a new node key; the rest as in ControlClient."""
    prefs = state.prefs
    plain = prefs.control_url.startswith("http://")
    login = Login(state.node, hostinfo=dict(report.hostinfo), draw=draw, jitter=random.random, plain=plain)
    session = ControlSession(login, disco=disco, jitter=random.random, plain=plain)
    session.report = report
    return ControlClient(
        session,
        url=prefs.control_url,
        machine=state.machine,
        pinned=prefs.pinned_key(),
        mark=MARK,
        finder=finder,
        tell=tell,
        changed=changed,
    )
