"""Google Cloud: VPC firewall rules, as bodies of `compute.firewalls.insert` and in Terraform.

Room: core. Rules keep state, have no source port, and hold one family each. Everything may go out unless a rule denies
it; ours come before denies of a priority above 900.

Checked: each body parses as google.cloud.compute_v1.Firewall and fits the discovery document (names, members); the
Terraform as for AWS (cdktf's schema, 16.12).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ginnel.core.firewall.formats.cloud import Entry, entries, without_source_ports
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.hcl import Raw, Value, block, variable
from ginnel.core.firewall.formats.notes import commented, label, line, reasons
from ginnel.core.firewall.needs import Plan

PRIORITY = 900
RANGES = 256  # to a rule
NETWORK = "global/networks/default"


def as_bodies(plan: Plan) -> str:
    """A JSON list. A description is the only text that Google keeps: profile and warning stand in each."""
    return json.dumps([_body(plan, entry) for entry in entries(plan, RANGES)], indent=2) + "\n"


def _body(plan: Plan, entry: Entry) -> dict[str, object]:
    until = f" Refresh by {plan.refresh_by}." if plan.refresh_by else ""
    warning = f" Warning: {line(plan.warnings[0], 600)}" if plan.warnings else ""
    source = line(plan.source, 200)
    facts = f"{label(entry.need, 400).rstrip('.')}. Level {BODIES.level}, profile {plan.profile}, source {source}."
    allowed: dict[str, object] = {"IPProtocol": entry.need.transport}
    if entry.need.port:
        allowed["ports"] = [entry.ports]
    out = entry.need.direction == "out"
    return {
        "name": entry.name,
        "description": f"{facts}{until}{warning}",
        "network": NETWORK,
        "direction": "EGRESS" if out else "INGRESS",
        "priority": PRIORITY,
        "destinationRanges" if out else "sourceRanges": list(entry.cidrs),
        "allowed": [allowed],
    }


def as_terraform(plan: Plan) -> str:
    lines = commented("#", TERRAFORM.notes(plan))
    lines += variable("ginnel_network", "The VPC network of the machines", "default")
    for entry in entries(plan, RANGES):
        lines.append("")
        lines += commented("#", reasons(entry.need) if entry.first else ())
        lines += _resource(entry)
    return "\n".join([*lines, ""])


def _resource(entry: Entry) -> Iterator[str]:
    out = entry.need.direction == "out"
    attributes: list[tuple[str, Value]] = [
        ("name", entry.name),
        ("description", label(entry.need, 400)),
        ("network", Raw("var.ginnel_network")),
        ("direction", "EGRESS" if out else "INGRESS"),
        ("priority", PRIORITY),
        ("destination_ranges" if out else "source_ranges", entry.cidrs),
    ]
    allow: list[tuple[str, Value]] = [("protocol", entry.need.transport)]
    if entry.need.port:
        allow.append(("ports", [entry.ports]))
    head = f'resource "google_compute_firewall" "{entry.name.replace("-", "_")}"'
    yield from block(head, attributes, block("allow", allow))


def remarks_on_bodies(plan: Plan) -> Iterator[str]:
    yield f"the network is {NETWORK}: put yours"
    yield from remarks(plan)


def remarks(plan: Plan) -> Iterator[str]:
    yield "the rules are for every machine of the network: add target tags or service accounts to name some"
    yield f"priority {PRIORITY}: your own deny rules need a higher number to come after"
    yield from without_source_ports(plan)


BODIES = Format(
    name="gcp-json",
    about="VPC firewall rules as bodies of the Compute API",
    level="L3",
    comment="",
    apply="POST each element to compute/v1/projects/PROJECT/global/firewalls (jq -c '.[]' FILE gives them one a line)",
    body=as_bodies,
    again="a name that is there is refused (409): PUT it to .../global/firewalls/NAME, which replaces the rule",
    undo="gcloud compute firewall-rules delete NAME, for each element's name",
    remarks=remarks_on_bodies,
    bare=True,
)
TERRAFORM = Format(
    name="gcp-terraform",
    about="VPC firewall rules for Terraform",
    level="L3",
    comment="#",
    apply="save as ginnel.tf; terraform plan, then terraform apply",
    body=as_terraform,
    again="terraform apply changes what differs",
    undo="delete the file, terraform apply",
    remarks=remarks,
)
