"""A scenario that is left standing for a person to look around in.

Room: lab.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.catalogue import scenario_named
from ginnel.lab.instance import Lab, can_stand
from ginnel.lab.mesh import Mesh
from ginnel.lab.namespace import enter_host, enter_network
from ginnel.lab.registry import demolish, kept, namespaces_of


def leave(name: str, tell: Callable[[str], None]) -> list[str]:
    """Build it, start its programs and go away; the hosts' names. The programs outlive this process."""
    scenario = scenario_named(name)
    can_stand()
    if name in kept():
        raise LabError(f"{name} stands already; take it down first: ginnel lab down {name}")
    lab = Lab(scenario.topology(), scenario.lengths())
    lab.programs_outlive_us = True
    with lab:
        Mesh(lab, scenario, tell).start()
        lab.leave_standing(name)
        return lab.host_names()


def step_into(name: str, host: str) -> None:
    """Move this process into a host or router of a standing scenario, for good."""
    can_stand()
    directory = standing(name)
    namespace = f"{directory.name}-{host}"
    there = namespaces_of(directory)
    if namespace not in there:
        known = ", ".join(found.removeprefix(f"{directory.name}-") for found in there)
        raise LabError(f"{name} has no host {host}; there are {known}")
    try:
        if (directory / host).is_dir():
            enter_host(namespace, directory / host, host)
        else:
            enter_network(namespace)
    except OSError as error:
        raise LabError(f"cannot enter {host}: {error.strerror}; run it as root") from None


def take_down(name: str) -> None:
    can_stand()
    demolish(standing(name))


def standing(name: str) -> Path:
    found = kept()
    if name not in found:
        stands = ", ".join(found) or "none"
        raise LabError(f"{name} does not stand (standing: {stands}); build it: ginnel lab up {name}")
    return found[name]
