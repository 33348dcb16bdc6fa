"""AWS: a security group, as a CloudFormation template in JSON and in Terraform.

Room: core. Security groups keep state and only allow. They know no source port. CloudFormation reads
`{{resolve:...}}` inside any string, and a rule's description has 255 characters of a small set (EC2: IpRange); our
texts have no braces at all.

Checked: cfn-lint 1.58 finds nothing in the template; HashiCorp's own parser reads the other, which is laid out as
`terraform fmt` does, and every argument is one of the provider's (cdktf's schema of it, 21.22).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.cloud import Entry, entries, without_source_ports
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.hcl import Raw, Value, block, variable
from ginnel.core.firewall.formats.notes import commented, label, reasons
from ginnel.core.firewall.needs import Direction, Plan

QUOTA, MOST = 60, 1000  # rules a direction, unless raised; at all
CIDR = {4: "CidrIp", 6: "CidrIpv6"}
BLOCKS = {4: "cidr_blocks", 6: "ipv6_cidr_blocks"}
GROUP = "ginnel: what the mesh needs"
NOTHING = {
    "IpProtocol": "icmp",
    "FromPort": 252,
    "ToPort": 86,
    "CidrIp": "255.255.255.255/32",
    "Description": "ginnel: lets nothing out",
}
"""A template without a rule for the way out makes a group that lets everything out (AWS::EC2::SecurityGroup)."""


def _checked(plan: Plan, direction: Direction) -> list[Entry]:
    found = [entry for entry in entries(plan, MOST) if entry.need.direction == direction]
    if sum(len(entry.cidrs) for entry in found) > MOST:
        raise CannotExpress(f"a security group holds {MOST} rules: use the recommended profile")
    return found


def _told(entry: Entry) -> str:
    return re.sub(r"[^A-Za-z0-9 ._:/()#,@+=*-]", "_", label(entry.need, 200))


def as_template(plan: Plan) -> str:
    group = {
        "GroupDescription": GROUP,
        "VpcId": {"Ref": "VpcId"},
        "SecurityGroupEgress": [rule for entry in _checked(plan, "out") for rule in _rules(entry)] or [NOTHING],
        "SecurityGroupIngress": [rule for entry in _checked(plan, "in") for rule in _rules(entry)],
    }
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": GROUP,
        "Metadata": {"ginnel": {"Notes": TEMPLATE.notes(plan)}},
        "Parameters": {"VpcId": {"Type": "AWS::EC2::VPC::Id"}},
        "Resources": {"Ginnel": {"Type": "AWS::EC2::SecurityGroup", "Properties": group}},
        "Outputs": {"SecurityGroup": {"Value": {"Fn::GetAtt": ["Ginnel", "GroupId"]}}},
    }
    return json.dumps(template, indent=2) + "\n"


def _rules(entry: Entry) -> Iterator[dict[str, object]]:
    first, last = (entry.need.port, entry.need.port) if entry.need.port else (0, 65535)
    for cidr in entry.cidrs:
        yield {
            "IpProtocol": entry.need.transport,
            "FromPort": first,
            "ToPort": last,
            CIDR[entry.family]: cidr,
            "Description": _told(entry),
        }


def as_terraform(plan: Plan) -> str:
    lines = commented("#", TERRAFORM.notes(plan))
    lines += [*variable("ginnel_vpc_id", "The VPC of the machines"), ""]
    inner = [text for direction in ("out", "in") for entry in _checked(plan, direction) for text in _block(entry)]
    attributes: list[tuple[str, Value]] = [
        ("name", "ginnel"),
        ("description", GROUP),
        ("vpc_id", Raw("var.ginnel_vpc_id")),
    ]
    lines += block('resource "aws_security_group" "ginnel"', attributes, inner)
    return "\n".join([*lines, ""])


def _block(entry: Entry) -> Iterator[str]:
    yield from commented("#", reasons(entry.need) if entry.first else ())
    first, last = (entry.need.port, entry.need.port) if entry.need.port else (0, 65535)
    yield from block(
        "egress" if entry.need.direction == "out" else "ingress",
        [
            ("description", _told(entry)),
            ("protocol", entry.need.transport),
            ("from_port", first),
            ("to_port", last),
            (BLOCKS[entry.family], entry.cidrs),
        ],
    )


def remarks(plan: Plan) -> Iterator[str]:
    yield "a group of its own, which touches no other; it works once machines have it"
    yield "security groups keep state; the network ACLs of the subnet do not: they must let UDP and high ports back in"
    yield "the groups of a machine add up: one that lets everything out, as a VPC's default group does, stays in force"
    yield from without_source_ports(plan)
    for direction, found in (("out", _checked(plan, "out")), ("in", _checked(plan, "in"))):
        count = sum(len(entry.cidrs) for entry in found)
        if count > QUOTA:
            yield f"{count} rules {direction}: the quota is {QUOTA} unless it was raised"


TEMPLATE = Format(
    name="aws-json",
    about="a security group as a CloudFormation template",
    level="L3",
    comment="",
    apply="aws cloudformation deploy --template-file FILE --stack-name ginnel --parameter-overrides VpcId=vpc-...",
    body=as_template,
    again="deploy it again: what differs is changed",
    undo="take the group off the machines, then aws cloudformation delete-stack --stack-name ginnel",
    remarks=remarks,
)
TERRAFORM = Format(
    name="aws-terraform",
    about="a security group for Terraform",
    level="L3",
    comment="#",
    apply="save as ginnel.tf; terraform plan, then terraform apply; attach aws_security_group.ginnel to the machines",
    body=as_terraform,
    again="terraform apply changes what differs",
    undo="take the group off the machines, delete the file, terraform apply",
    remarks=remarks,
)
