"""Little Snitch: a rule group (.lsrules) for one program on macOS.

Room: core. Little Snitch knows programs, not source ports, so the tunnel's rule is the program's UDP to anywhere.
Layout: obdev.at, "The .lsrules file format". The top level was compared with that page, the members of a rule with
exported groups; no other reader of it is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import label, words
from ginnel.core.firewall.formats.targets import addresses as every_address
from ginnel.core.firewall.formats.targets import said_in_tls
from ginnel.core.firewall.needs import Need, Plan

PROCESS = "/usr/local/bin/ginneld"


def write(plan: Plan) -> str:
    group = {
        "name": "ginnel",
        "description": words("; ".join(FORMAT.notes(plan)), 1500),
        "rules": [rule for need in plan.needs for rule in _rules(need)],
    }
    return json.dumps(group, indent=2) + "\n"


def _rules(need: Need) -> Iterator[dict[str, object]]:
    rule: dict[str, object] = {
        "action": "allow",
        "process": PROCESS,
        "direction": "outgoing" if need.direction == "out" else "incoming",
        "protocol": need.transport,
        "ports": str(need.port) if need.port else "any",
        "notes": label(need, 400),
    }
    if not need.hosts:
        yield rule | {"remote": "any"}
        return
    names = said_in_tls(need).names
    addresses = [str(a) for a in (*every_address(need, 4), *every_address(need, 6))]
    if names:
        yield rule | {"remote-hosts": list(names)}
    if addresses:
        yield rule | {"remote-addresses": ", ".join(addresses)}


def remarks(plan: Plan) -> Iterator[str]:
    yield f"the program is {PROCESS}: put the path of yours; for a script that is the Python which runs it"
    if any(need.source_port for need in plan.needs):
        yield "rules know no source port: the tunnel's is this program's UDP to anywhere"


FORMAT = Format(
    name="little-snitch",
    about="a rule group (.lsrules) for macOS",
    level="SNI/FQDN",
    comment="",
    apply="save as ginnel.lsrules and open it",
    body=write,
    again="delete the former rules first, or they may stay beside the new ones",
    undo="delete the rules whose notes begin with ginnel",
    remarks=remarks,
)
