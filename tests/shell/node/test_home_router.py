import pytest

from ginnel.shell.node.home_router import HomeRouter
from ginnel.shell.node.state import Prefs, State
from ginnel.words import MachinePrivate

UP = Prefs(want_running=True)


@pytest.mark.parametrize(
    ("prefs", "allowed", "logged_in", "why"),
    [
        (UP, False, True, "ginneld runs with --no-port-mapping"),
        (UP, True, False, "this node is down: `ginnel up` connects it"),
        (Prefs(), True, True, "this node is down: `ginnel up` connects it"),
        (Prefs(want_running=True, no_port_mapping=True), True, True, "it is switched off: `ginnel up --port-mapping`"),
        (UP, True, True, "no home router: the default route has no private IPv4 gateway"),
    ],
)
def test_who_asks_no_router_can_say_why(prefs: Prefs, allowed: bool, logged_in: bool, why: str) -> None:
    state = State(MachinePrivate(bytes(range(32))), prefs=prefs)
    router = HomeRouter("tun0", state, allowed=allowed, tell=lambda _: None, spawn=lambda task: task.close())
    assert router.why_unasked(prefs, logged_in=logged_in).startswith(why)
