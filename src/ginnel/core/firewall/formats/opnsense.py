"""OPNsense: aliases to import: of ports, and, when pinned, of hosts, which OPNsense resolves again every few minutes.

Room: core. The layout is what `GET /api/firewall/alias/export` gives and `import` takes (OPNsense: Firewall/Alias.xml,
AliasController.php): aliases by UUID, found again by name. A description there holds letters, digits, blanks and
`.,_-`. Checked against that model by eye; nothing else reads it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import words
from ginnel.core.firewall.formats.targets import to_resolve
from ginnel.core.firewall.needs import Need, Plan

NAMESPACE = uuid.UUID("3a1b5f7e-0d52-5c1c-9d0e-5e3b6a0f4c11")  # ours: an alias keeps its UUID from run to run
LONGEST_TEXT = 255


def write(plan: Plan) -> str:
    aliases = dict(alias for need in plan.needs for alias in _aliases(plan, need))
    return json.dumps({"aliases": {"alias": aliases}}, indent=2) + "\n"


def _aliases(plan: Plan, need: Need) -> Iterator[tuple[str, dict[str, str]]]:
    name = need.id.replace("-", "_")
    told = f"level {FORMAT.level}, {plan.profile} from {plan.source}. {need.id}. {need.why}"
    if need.port:
        yield _alias(f"ginnel_{name}_p", "port", [str(need.port)], told)
    if need.source_port:
        yield _alias(f"ginnel_{name}_sp", "port", [str(need.source_port)], f"source port. {told}")
    if need.hosts:
        targets = to_resolve(need)
        content = [*targets.names, *map(str, targets.addresses)]
        until = f"refresh by {plan.refresh_by}. " if plan.refresh_by else ""
        warning = f"warning. {plan.warnings[0]}. " if plan.warnings else ""
        yield _alias(f"ginnel_{name}_h", "host", content, until + warning + told)


def _alias(name: str, kind: str, content: list[str], told: str) -> tuple[str, dict[str, str]]:
    return str(uuid.uuid5(NAMESPACE, name)), {
        "enabled": "1",
        "name": name,
        "type": kind,
        "proto": "",
        "interface": "",
        "counters": "0",
        "updatefreq": "",
        "content": "\n".join(content),
        "categories": "",
        "description": _text(told),
    }


def _text(told: str) -> str:
    return " ".join(re.sub(r"[^0-9A-Za-z .,_-]", " ", words(told, LONGEST_TEXT)).split())


def remarks(plan: Plan) -> Iterator[str]:  # noqa: ARG001
    yield "aliases alone: pass rules on LAN, direction in, take `ginnel_*_h` (or any) and `ginnel_*_p` as destination"
    yield "the tunnel's rule has any destination and `ginnel_tunnel_sp` as source port; states let the answers through"


FORMAT = Format(
    name="opnsense-alias",
    about="aliases of ports and hosts to import",
    level="L3/FQDN",
    comment="",
    apply="Firewall, Aliases, the upload button; or POST to /api/firewall/alias/import as `data`",
    body=write,
    again="an alias of the same name is replaced, others stay",
    undo="delete your rules that use them, then the aliases ginnel_*",
    remarks=remarks,
    bare=True,
)
