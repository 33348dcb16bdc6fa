"""Azure: a network security group, as an ARM template in JSON and in Terraform.

Room: core. It keeps state, knows source ports, and tries rules by priority, the lowest number first. In a template a
string that begins with `[` is an expression; ours begin with words of our own. A description has 140 characters.

Checked: every rule is a SecurityRule of azure-mgmt-network 33.1 (members, values, priorities once a direction); the
Terraform as for AWS (cdktf's schema, 14.23).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.cloud import Entry, entries
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.hcl import Raw, Value, block, variable
from ginnel.core.firewall.formats.notes import commented, label, reasons
from ginnel.core.firewall.needs import Direction, Plan

FIRST, STEP, LAST = 200, 10, 4096
PREFIXES = 4000  # in a group
SIDE: dict[Direction, str] = {"out": "Outbound", "in": "Inbound"}


def _numbered(plan: Plan) -> list[tuple[int, Entry]]:
    found = list(entries(plan, PREFIXES))
    if sum(len(entry.cidrs) for entry in found) > PREFIXES or FIRST + STEP * len(found) > LAST:
        raise CannotExpress(f"a network security group holds {PREFIXES} addresses: use the recommended profile")
    return [(FIRST + STEP * number, entry) for number, entry in enumerate(found)]


def as_template(plan: Plan) -> str:
    group = {
        "type": "Microsoft.Network/networkSecurityGroups",
        "apiVersion": "2023-09-01",
        "name": "ginnel",
        "location": "[parameters('location')]",
        "properties": {"securityRules": [_rule(priority, entry) for priority, entry in _numbered(plan)]},
    }
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "metadata": {"comments": TEMPLATE.notes(plan)},
        "parameters": {"location": {"type": "string", "defaultValue": "[resourceGroup().location]"}},
        "resources": [group],
    }
    return json.dumps(template, indent=2) + "\n"


def _rule(priority: int, entry: Entry) -> dict[str, object]:
    need = entry.need
    far, near = ("destination", "source") if need.direction == "out" else ("source", "destination")
    properties: dict[str, object] = {
        "description": label(need, 140),
        "protocol": need.transport.capitalize(),
        "access": "Allow",
        "priority": priority,
        "direction": SIDE[need.direction],
        "sourcePortRange": str(need.source_port or "*"),
        "destinationPortRange": str(need.port or "*"),
        f"{near}AddressPrefix": "*",
    }
    if len(entry.cidrs) == 1:
        properties[f"{far}AddressPrefix"] = entry.cidrs[0]
    else:
        properties[f"{far}AddressPrefixes"] = list(entry.cidrs)
    return {"name": entry.name, "properties": properties}


def as_terraform(plan: Plan) -> str:
    lines = commented("#", TERRAFORM.notes(plan))
    lines += [*variable("ginnel_location", "The region of the machines"), ""]
    lines += [*variable("ginnel_resource_group", "The resource group of the machines"), ""]
    inner = [text for priority, entry in _numbered(plan) for text in _block(priority, entry)]
    attributes: list[tuple[str, Value]] = [
        ("name", "ginnel"),
        ("location", Raw("var.ginnel_location")),
        ("resource_group_name", Raw("var.ginnel_resource_group")),
    ]
    lines += block('resource "azurerm_network_security_group" "ginnel"', attributes, inner)
    return "\n".join([*lines, ""])


def _block(priority: int, entry: Entry) -> Iterator[str]:
    need = entry.need
    yield from commented("#", reasons(need) if entry.first else ())
    far, near = ("destination", "source") if need.direction == "out" else ("source", "destination")
    attributes: list[tuple[str, Value]] = [
        ("name", entry.name),
        ("description", label(need, 140)),
        ("priority", priority),
        ("direction", SIDE[need.direction]),
        ("access", "Allow"),
        ("protocol", need.transport.capitalize()),
        ("source_port_range", str(need.source_port or "*")),
        ("destination_port_range", str(need.port or "*")),
        (f"{near}_address_prefix", "*"),
        (f"{far}_address_prefixes", entry.cidrs),
    ]
    yield from block("security_rule", attributes)


def remarks(plan: Plan) -> Iterator[str]:  # noqa: ARG001
    yield f"priorities from {FIRST} on: your own denies need higher numbers to come after"
    yield "a subnet or interface has one group: where yours has one, copy the rules into it, with numbers that are free"


TEMPLATE = Format(
    name="azure-json",
    about="a network security group as an ARM template",
    level="L3",
    comment="",
    apply="az deployment group create --resource-group GROUP --template-file FILE",
    body=as_template,
    again="deploy it again: what differs is changed, and rules that you added to this group by hand go",
    undo="take it off subnets and interfaces, then az network nsg delete --resource-group GROUP --name ginnel",
    remarks=remarks,
)
TERRAFORM = Format(
    name="azure-terraform",
    about="a network security group for Terraform",
    level="L3",
    comment="#",
    apply="save as ginnel.tf; terraform plan, then terraform apply; associate it with subnets or interfaces",
    body=as_terraform,
    again="terraform apply changes what differs",
    undo="take it off subnets and interfaces, delete the file, terraform apply",
    remarks=remarks,
)
