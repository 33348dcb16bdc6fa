"""The Terraform formats are read by a parser of its language, and hold what the plan says."""

from __future__ import annotations

import re
from typing import Any

import hcl2
import pytest

from ginnel.core.firewall.formats.table import FORMATS
from tests.core.firewall.formats.plans import PINNED, PLANS, RECOMMENDED, many_regions

NAMES = ["aws-terraform", "gcp-terraform", "azure-terraform"]


def bare(value: Any) -> Any:
    """The parser keeps the quotes of strings, and adds members of its own."""
    if isinstance(value, dict):
        return {bare(key): bare(inner) for key, inner in value.items() if not str(key).startswith("__")}
    if isinstance(value, list):
        return [bare(inner) for inner in value]
    return value.strip('"') if isinstance(value, str) else value


def read(text: str) -> Any:
    return bare(hcl2.loads(text))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_parsed_and_every_block_says_why(name: str, plan: Any) -> None:
    document = read(FORMATS[name].render(plan))
    assert set(document) == {"variable", "resource"}
    assert len(re.findall("description +=", FORMATS[name].render(plan))) >= 2 * len(plan.needs)


@pytest.mark.parametrize("plan", [*PLANS.values(), many_regions(40)], ids=[*PLANS, "many"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_laid_out_as_terraform_fmt_would(name: str, plan: Any) -> None:
    """Two blanks a level, and the equals signs of attributes that stand together below each other."""
    level, columns = 0, set()
    for line in FORMATS[name].render(plan).splitlines():
        level -= line.strip() == "}"
        assert not line or len(line) - len(line.lstrip()) == 2 * level, line
        attribute = re.match(r" *[a-z0-9_]+ *(?==)", line)
        columns = columns | {attribute.end()} if attribute else set()
        assert len(columns) <= 1, line
        level += line.endswith("{")


def test_aws_allows_what_the_plan_says() -> None:
    [resource] = read(FORMATS["aws-terraform"].render(RECOMMENDED))["resource"]
    group = resource["aws_security_group"]["ginnel"]
    ports = {(rule["protocol"], rule["from_port"], rule["to_port"]) for rule in group["egress"]}
    assert ports == {("tcp", 443, 443), ("udp", 0, 65535), ("udp", 3478, 3478), ("tcp", 80, 80)}
    assert {(rule["protocol"], rule["from_port"]) for rule in group["ingress"]} == {("udp", 41641)}
    assert [rule["cidr_blocks"] for rule in group["egress"] if "cidr_blocks" in rule] == [["0.0.0.0/0"]] * 4
    assert [rule["ipv6_cidr_blocks"] for rule in group["egress"] if "ipv6_cidr_blocks" in rule] == [["::/0"]] * 4


def test_azure_names_the_source_port() -> None:
    [resource] = read(FORMATS["azure-terraform"].render(RECOMMENDED))["resource"]
    rules = resource["azurerm_network_security_group"]["ginnel"]["security_rule"]
    assert [r["source_port_range"] for r in rules if "tunnel-v" in r["name"]] == ["41641", "41641"]
    priorities = [rule["priority"] for rule in rules]
    assert priorities == sorted(set(priorities))


def test_google_gets_no_more_ranges_than_a_rule_takes() -> None:
    resources = read(FORMATS["gcp-terraform"].render(many_regions(300)))["resource"]
    rules = [rule for each in resources for rule in each["google_compute_firewall"].values()]
    https = [rule for rule in rules if rule["name"].startswith("ginnel-https-v4")]
    assert [len(rule["destination_ranges"]) for rule in https] == [256, 44]
    assert len({rule["name"] for rule in rules}) == len(rules)
    assert "203.0.113.1" not in str(rules)


def test_pinned_groups_hold_the_pinned_addresses_alone() -> None:
    [resource] = read(FORMATS["aws-terraform"].render(PINNED))["resource"]
    egress = resource["aws_security_group"]["ginnel"]["egress"]
    assert not [rule for rule in egress if rule["to_port"] == 443 and "0.0.0.0/0" in rule.get("cidr_blocks", [])]
