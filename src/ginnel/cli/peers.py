"""Finding the machine that a name or an address on the command line means.

Room: cli.
"""

from __future__ import annotations

from typing import Any

from ginnel.cli.local import ApiError, Local, fail
from ginnel.cli.status import not_running


def running_status(api: Local) -> dict[str, Any]:
    """The daemon's status; ends the command where the node does not run."""
    try:
        got: dict[str, Any] = api.get("status")
    except ApiError as error:
        fail(str(error))
    refused = not_running(got)
    if refused:
        fail(refused.split("\n")[0])
    return got


def resolve(api: Local, peer: str) -> str:
    """The first mesh address of the machine that `peer` names."""
    return str(find(running_status(api), peer)["TailscaleIPs"][0]) if not _is_address(peer) else peer


def find(got: dict[str, Any], peer: str) -> dict[str, Any]:
    """The machine with this address, DNS name or host name; ends the command where there is none."""
    machine = known(got, peer)
    return (
        machine
        if machine is not None
        else fail(f"no machine of the mesh is called {peer!r}: `ginnel status` lists them")
    )


def known(got: dict[str, Any], peer: str) -> dict[str, Any] | None:
    """The same; None where there is none."""
    wanted = peer.rstrip(".").lower()
    machines: list[dict[str, Any]] = [got["Self"], *(got.get("Peer") or {}).values()]
    for names in (_addresses, _dns_names, _host_names):
        for machine in machines:
            if wanted in names(machine) and machine.get("TailscaleIPs"):
                return machine
    return None


def _addresses(machine: dict[str, Any]) -> list[str]:
    return machine.get("TailscaleIPs") or []


def _dns_names(machine: dict[str, Any]) -> list[str]:
    name = (machine.get("DNSName") or "").rstrip(".").lower()
    return [name, name.split(".")[0]] if name else []


def _host_names(machine: dict[str, Any]) -> list[str]:
    return [(machine.get("HostName") or "").lower()]


def _is_address(text: str) -> bool:
    return all(c in "0123456789." for c in text) or (":" in text and all(c in "0123456789abcdefABCDEF:." for c in text))
