"""AWS: what a CloudFormation template says, and what it would leave to a default."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from ginnel.core.firewall.formats.table import FORMATS
from tests.core.firewall.formats.plans import RECOMMENDED

AWS = FORMATS["aws-json"]


def group(text: str) -> Any:
    return json.loads(text)["Resources"]["Ginnel"]["Properties"]


def test_a_group_for_the_way_in_does_not_let_everything_out() -> None:
    """Without a rule for the way out CloudFormation's group has one that lets everything out."""
    [rule] = group(AWS.inbound(RECOMMENDED))["SecurityGroupEgress"]
    assert rule["CidrIp"] == "255.255.255.255/32"
    assert rule["IpProtocol"] == "icmp"


def test_the_group_allows_what_the_plan_says() -> None:
    found = group(AWS.render(RECOMMENDED))
    for family, member in ((4, "CidrIp"), (6, "CidrIpv6")):
        out = [rule for rule in found["SecurityGroupEgress"] if member in rule]
        ports = {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in out}
        assert ports == {("tcp", 443, 443), ("udp", 0, 65535), ("udp", 3478, 3478), ("tcp", 80, 80)}
        assert {ip_network(rule[member]).version for rule in out} == {family}
    assert {(rule["IpProtocol"], rule["FromPort"]) for rule in found["SecurityGroupIngress"]} == {("udp", 41641)}
