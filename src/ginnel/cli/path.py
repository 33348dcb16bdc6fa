"""`ginnel path`: by which ways peers may be reached, and are.

Room: cli.
"""

from __future__ import annotations

from typing import Any

import click

from ginnel.cli.local import ApiError, Local, fail, local, plain
from ginnel.cli.options import socket_option
from ginnel.cli.peers import find, running_status
from ginnel.cli.status import host_name

POLICIES = ("auto", "direct", "relay")


@click.command()
@click.argument("peer", required=False)
@click.argument("policy", required=False, type=click.Choice([*POLICIES, "default"]))
@click.option("--default", "everyone", type=click.Choice(POLICIES), help="For all peers without a policy of their own.")
@socket_option
def path(*, peer: str | None, policy: str | None, everyone: str | None, socket: str | None) -> None:
    """Show or limit the ways to peers.

    `auto`: direct where that works, by relay where not. `direct`: never by a relay, so perhaps not at all. `relay`:
    nothing is sent to the peer's addresses. `default` takes PEER's own policy back.
    """
    api = local(socket)
    if peer is not None and everyone is not None:
        raise click.UsageError("--default is for all peers: leave PEER out, or say `ginnel path PEER POLICY`")
    try:
        if everyone is not None:
            api.patch("prefs", {"PathPolicy": everyone, "PathPolicySet": True})
        if peer is not None and policy is not None:
            choose(api, peer, policy)
        for line in lines(running_status(api), api.get("prefs"), api.get("debug-inside").get("Paths") or {}, peer):
            print(line)
    except ApiError as error:
        fail(str(error))


def choose(api: Local, peer: str, policy: str) -> None:
    """Give a peer its policy, or take it back."""
    got = running_status(api)
    machine = find(got, peer)
    if machine is got["Self"]:
        fail(f"{peer!r} is this machine: the way to itself needs no policy")
    policies = dict(api.get("prefs")["PathPolicies"])
    policies.pop(machine["ID"], None)
    if policy != "default":
        policies[machine["ID"]] = policy
    api.patch("prefs", {"PathPolicies": policies, "PathPoliciesSet": True})


def lines(got: dict[str, Any], prefs: dict[str, Any], paths: dict[str, Any], peer: str | None) -> list[str]:
    """What is said: of one peer, or the default and whoever differs or is in touch."""
    suffix = got.get("MagicDNSSuffix") or ""
    if peer is not None:
        machine = find(got, peer)
        return [_line(machine, suffix, prefs, paths)]
    shown = [
        machine
        for key, machine in (got.get("Peer") or {}).items()
        if key in paths or machine["ID"] in prefs["PathPolicies"]
    ]
    shown.sort(key=lambda machine: str(machine["DNSName"]))
    return [f"default: {prefs['PathPolicy']}", *(_line(machine, suffix, prefs, paths) for machine in shown)]


def _line(machine: dict[str, Any], suffix: str, prefs: dict[str, Any], paths: dict[str, Any]) -> str:
    policy = prefs["PathPolicies"].get(machine["ID"], prefs["PathPolicy"])
    way = paths.get(machine["PublicKey"], {})
    said = f"{plain(host_name(machine, suffix))}: {policy}"
    if way.get("CurAddr"):
        size = f", wire MTU {way['WireMTU']}" if way["WireMTU"] else ", not known to carry full-size packets"
        said += f"; direct {way['CurAddr']}, {way['LatencySeconds'] * 1000:.1f} ms{size}"
    elif machine.get("Active") and machine.get("Relay"):
        said += f"; by relay {plain(machine['Relay'])}"
    for endpoint, fault in (way.get("Shunned") or {}).items():
        said += f"; not by {endpoint} for now: it {fault}"
    return said
