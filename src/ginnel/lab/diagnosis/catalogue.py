"""All faults by name, and the healthy networks among them.

Room: lab.
"""

from __future__ import annotations

from ginnel.lab import LabError
from ginnel.lab.diagnosis import (
    faults_firewall,
    faults_host,
    faults_pairs,
    faults_ports,
    faults_relays,
    faults_strangers,
    healthy,
)
from ginnel.lab.diagnosis.fault import Fault

TABLES = (faults_ports, faults_relays, faults_strangers, faults_pairs, faults_host, faults_firewall, healthy)
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
