"""All faults by name, and the healthy networks among them.

Room: lab.
"""

from __future__ import annotations

import msgspec

from ginnel.lab import LabError
from ginnel.lab.diagnosis import (
    faults_firewall,
    faults_guarded,
    faults_host,
    faults_pairs,
    faults_ports,
    faults_relays,
    faults_server,
    faults_strangers,
    healthy,
)
from ginnel.lab.diagnosis.fault import Fault

TABLES = (
    faults_ports,
    faults_relays,
    faults_server,
    faults_strangers,
    faults_pairs,
    faults_guarded,
    faults_firewall,
    faults_host,
    healthy,
)
FAULTS: dict[str, Fault] = {fault.name: fault for table in TABLES for fault in table.FAULTS}


def faults_named(names: tuple[str, ...]) -> list[Fault]:
    """All when none is named; a group's name stands for all of it. LabError for an unknown one."""
    found: dict[str, Fault] = {}
    for name in names or tuple(FAULTS):
        these = [fault for fault in FAULTS.values() if name in (fault.name, fault.group)]
        if not these:
            raise LabError(f"no such fault: {name}; there are {', '.join(FAULTS)}")
        found |= {fault.name: fault for fault in these}
    return list(found.values())


class Listed(msgspec.Struct, frozen=True):
    """One fault for programs. asked: the commands that are judged, with the right first cause of each."""

    name: str
    group: str
    about: str
    asked: dict[str, str]


def listed(faults: list[Fault]) -> list[Listed]:
    return [
        Listed(fault.name, fault.group, fault.about, {view.command: view.cause or "healthy" for view in fault.views})
        for fault in faults
    ]


def told(fault: Fault) -> str:
    """For people."""
    return f"{fault.group:8} {fault.name:26} {fault.about}"
