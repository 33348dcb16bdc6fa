from __future__ import annotations

from dataclasses import replace

import pytest

from ginnel.core.doctor.causes import Cause
from ginnel.core.doctor.diagnosis import of_host
from ginnel.core.doctor.evidence import Clash, Clock, Daemon, Host
from ginnel.wire.doctor import RelayTold
from tests.core.doctor.world import FRANKFURT, HOST, NETWORK, NEW_YORK, end, host_cause, network


def daemon(**members: object) -> Host:
    assert HOST.daemon is not None
    return replace(HOST, daemon=replace(HOST.daemon, **members))  # type: ignore[arg-type]


def clocks(*ahead: float) -> Host:
    return replace(HOST, clocks=tuple(Clock(f"https://{n}.example", by) for n, by in enumerate(ahead)))


DOWN = replace(HOST, daemon=None, network=None, why_down="nothing answers on /run/ginnel/ginneld.sock")
CASES = {
    "the daemon does not run": (DOWN, Cause.DAEMON_DOWN, "broken"),
    "it cannot run without a TUN device": (replace(DOWN, tun_device=False), Cause.NO_TUN, "broken"),
    "its tunnel is gone": (daemon(tunnel_problem="the interface is in use"), Cause.NO_TUN, "broken"),
    "nobody has logged in": (daemon(state="NeedsLogin"), Cause.NOT_LOGGED_IN, "broken"),
    "the key has expired": (daemon(state="NeedsLogin", key_expired=True), Cause.KEY_EXPIRED, "broken"),
    "nobody has approved it": (daemon(state="NeedsMachineAuth"), Cause.NEEDS_APPROVAL, "broken"),
    "it was stopped": (daemon(state="Stopped"), Cause.STOPPED, "broken"),
    "the clock is behind": (clocks(-400 * 86400.0), Cause.CLOCK_WRONG, "degraded"),
    "the clock is ahead, say two": (clocks(90.0, 91.0), Cause.CLOCK_WRONG, "degraded"),
    "the port is another's": (daemon(port=50000), Cause.PORT_TAKEN, "degraded"),
    "an address covers mesh addresses": (
        replace(HOST, clashes=(Clash("the address 100.64.9.9/10 on eth0", ("100.64.0.2",)),)),
        Cause.CGNAT_CLASH,
        "degraded",
    ),
    "a route takes packets away": (
        replace(HOST, clashes=(Clash("the route 100.64.0.0/10 by tun9", ("100.64.0.2",), steals=True),)),
        Cause.ROUTE_CLASH,
        "degraded",
    ),
    "the server does not let ginneld in": (
        replace(
            daemon(control_connected=False, control_problem="machine not authorized"),
            network=end(NETWORK, control=False),
        ),
        Cause.CONTROL_REFUSES,
        "degraded",
    ),
    "the home relay does not let ginneld in": (
        network(relays=(RelayTold(FRANKFURT, problem="HTTP 403"), RelayTold(NEW_YORK, latency=0.09))),
        Cause.RELAY_REFUSES,
        "degraded",
    ),
    "the clock is known to nobody": (clocks(), Cause.NOT_LOOKED_AT, "unknown"),
    "no server or relay was looked at": (replace(HOST, control=None, relays=()), Cause.NOT_LOOKED_AT, "unknown"),
    "something was not looked at in time": (replace(HOST, unlooked=("TCP port 80",)), Cause.NOT_LOOKED_AT, "unknown"),
    "the daemon is of another version": (daemon(version="0.0.9"), Cause.OLD_VERSION, "degraded"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_cause_comes_first(case):
    host, cause, verdict = CASES[case]
    assert host_cause(host) == (verdict, cause)


HEALTHY = {
    "all is well": HOST,
    "a clock's usual error": clocks(1.4),
    "a carrier's address that covers nobody": replace(HOST, clashes=(Clash("the address 100.99.0.2/30 on wwan0"),)),
    "a port that is the daemon's own choice": daemon(port=50000, wanted_port=0),
    "no IPv6 anywhere": network(ipv6=False),
}


@pytest.mark.parametrize("case", HEALTHY, ids=str)
def test_healthy_machines_are_called_healthy(case):
    assert host_cause(HEALTHY[case]) == ("healthy", None)


def test_who_holds_the_port_is_named():
    host = replace(daemon(port=50000), holder="coturn (process 7)")
    assert "coturn (process 7)" in of_host(host).findings[0].evidence[0]


def test_daemon_states_that_pass_by_themselves_are_no_fault():
    assert host_cause(replace(HOST, daemon=Daemon("Starting", "0.1.0", 41641, 41641))) == ("healthy", None)


@pytest.mark.parametrize(
    "host",
    [
        replace(daemon(control_connected=False), network=end(NETWORK, control=True)),
        network(relays=(RelayTold(FRANKFURT, problem=""), RelayTold(NEW_YORK, latency=0.09))),
        network(relays=(RelayTold(FRANKFURT, connected=True, problem="HTTP 403 before"),)),
    ],
    ids=["connected meanwhile", "not dialled yet", "let in meanwhile"],
)
def test_what_has_passed_is_no_fault(host: Host) -> None:
    assert of_host(host).verdict == "healthy"


def test_a_wrong_clock_says_which_way() -> None:
    (ahead,), (behind,) = (of_host(clocks(by)).findings for by in (400 * 86400.0, -400 * 86400.0))
    assert "400 days ahead of the time of" in ahead.evidence[0]
    assert "400 days behind the time of" in behind.evidence[0]


@pytest.mark.parametrize(("unit", "command"), [(True, "sudo systemctl start ginneld"), (False, "sudo ginneld")])
def test_the_command_that_starts_the_daemon_is_one_that_is_there(*, unit: bool, command: str) -> None:
    fix = of_host(replace(DOWN, unit=unit)).findings[0].fix
    assert fix is not None
    assert fix.command == command


def test_relays_that_agree_with_this_machine_leave_the_server_to_be_wrong() -> None:
    server, relay = Clock("https://control.example", 3 * 86400.0), Clock("relay fra.example", 0.4)
    said = of_host(replace(HOST, clocks=(server, server, relay)))
    assert (said.verdict, said.findings[0].cause) == ("healthy", Cause.SERVER_CLOCK_WRONG)
    assert said.findings[0].fix is not None
    assert said.findings[0].fix.where == "the server"


def test_the_servers_word_and_its_maps_are_one_source() -> None:
    once, twice = Clock("https://control.example", 600.0), Clock("https://control.example", 601.0)
    assert of_host(replace(HOST, clocks=(once, twice))).findings[0].confidence < 0.9
