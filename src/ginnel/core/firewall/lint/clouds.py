"""Security groups of AWS, firewall rules of Google Cloud, network security groups of Azure, as their tools list them.

Room: core. Sources: `aws ec2 describe-security-groups`, `gcloud compute firewall-rules list --format json`,
`az network nsg show`. All let answers pass by themselves. Another group or a tag as the other end is not understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ginnel.core.firewall.lint.fields import PRIVATE, Box, Field
from ginnel.core.firewall.lint.ints import both
from ginnel.core.firewall.lint.model import MAX_RULES, Do, LintError, Rule, RuleSet, Step, Verdict, When
from ginnel.core.firewall.lint.nft_rule import doubt
from ginnel.core.firewall.lint.stateful import ends, listed, ports, protocol, stateful

NOTE = "the host's own firewall is not in this file: lint that too"
PUBLIC_TAGS = ("*", "internet", "any", "0.0.0.0/0")
PRIVATE_TAGS = ("virtualnetwork", "azureloadbalancer")


def parser(kind: str) -> Callable[[str], RuleSet]:
    """kind: aws-sg, gcp or azure-nsg."""
    return lambda text: _parse(text, KINDS[kind])


def _parse(text: str, kind: Callable[[Any], RuleSet]) -> RuleSet:
    try:
        got = kind(json.loads(text))
    except RecursionError:
        raise LintError("nested too deeply") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LintError(f"not as the cloud's tool writes it ({type(error).__name__})") from None
    if sum(len(chain.rules) for chain in got.chains.values()) > MAX_RULES:
        raise LintError(f"more than {MAX_RULES} rules")
    got.notes.append(NOTE)
    return got


def _steps(case: Box, ends_of_it: list[str], unclear: list[str], *, inward: bool) -> list[Step]:
    """ends_of_it: networks; unclear: other ends that nobody can follow here."""
    cases: list[Box] = []
    for text in ends_of_it:
        other = ends(text, source=inward)
        clash = Field.NFPROTO in case and not both(case[Field.NFPROTO], other.get(Field.NFPROTO, case[Field.NFPROTO]))
        cases += [] if clash else [{**case, **other}]
    cases += [{**case, f"?{name}": ((1, 1),)} for name in unclear]
    return [When(tuple(cases))]


# --- AWS -------------------------------------------------------------------------------------------------------


def _aws(found: Any) -> RuleSet:
    inward: list[Rule] = []
    outward: list[Rule] = []
    for group in listed(found["SecurityGroups"], "SecurityGroups"):
        if not isinstance(group, dict):
            raise TypeError
        name = str(group.get("GroupId", "?"))
        for key, rules in (("IpPermissions", inward), ("IpPermissionsEgress", outward)):
            for permission in listed(group.get(key), key):
                rules.append(_aws_rule(permission, name, inward=rules is inward))
    return stateful("security group", inward, outward, (Verdict.DROP, Verdict.DROP))


def _aws_rule(found: Any, group: str, *, inward: bool) -> Rule:
    transport, case = protocol(str(found["IpProtocol"])), Box()
    if transport is not None:
        case[Field.L4PROTO] = transport
        low, high = found.get("FromPort", -1), found.get("ToPort", -1)
        if (low, high) != (-1, -1):
            case[Field.DPORT] = ((int(low), int(high)),)
    networks = [str(r["CidrIp"]) for r in found.get("IpRanges") or []]
    networks += [str(r["CidrIpv6"]) for r in found.get("Ipv6Ranges") or []]
    others = [str(r.get("GroupId")) for r in found.get("UserIdGroupPairs") or []]
    others += [str(r.get("PrefixListId")) for r in found.get("PrefixListIds") or []]
    side = "from" if inward else "to"
    where = ", ".join([*networks, *others][:6])
    text = f"{group}: {found['IpProtocol']} {found.get('FromPort', '*')}-{found.get('ToPort', '*')} {side} {where}"
    return Rule(text, (*_steps(case, networks, others, inward=inward), Do(Verdict.ACCEPT)))


# --- Google Cloud ----------------------------------------------------------------------------------------------


def _gcp(found: Any) -> RuleSet:
    inward: list[Rule] = []
    outward: list[Rule] = []
    rules = [r for r in listed(found, "the file") if isinstance(r, dict) and not r.get("disabled")]
    for rule in sorted(rules, key=lambda r: (int(r.get("priority", 1000)), "denied" not in r)):
        to = outward if rule.get("direction") == "EGRESS" else inward
        to += [_gcp_rule(rule, part, inward=to is inward) for part in rule.get("allowed") or rule.get("denied") or []]
    return stateful("Google Cloud firewall", inward, outward, (Verdict.DROP, Verdict.ACCEPT))


def _gcp_rule(rule: dict[str, Any], part: dict[str, Any], *, inward: bool) -> Rule:
    case, transport = Box(), protocol(str(part["IPProtocol"]))
    if transport is not None:
        case[Field.L4PROTO] = transport
    values = ports([str(p) for p in part.get("ports") or []])
    if values is not None:
        case[Field.DPORT] = values
    tags = rule.get("sourceTags") or rule.get("sourceServiceAccounts") or []
    networks = rule.get("sourceRanges" if inward else "destinationRanges") or ([] if tags else ["0.0.0.0/0"])
    steps = _steps(case, [str(n) for n in networks], [str(t) for t in tags], inward=inward)
    for target in (rule.get("targetTags") or rule.get("targetServiceAccounts") or [])[:1]:
        steps.append(doubt("?", f"the machine has {target}"))
    allowed = bool(rule.get("allowed"))
    text = f"{rule.get('name', '?')}: {'allow' if allowed else 'deny'} {part['IPProtocol']} {part.get('ports', '')}"
    return Rule(text, (*steps, Do(Verdict.ACCEPT if allowed else Verdict.DROP)))


# --- Azure -----------------------------------------------------------------------------------------------------


def _azure(found: Any) -> RuleSet:
    inward: list[Rule] = []
    outward: list[Rule] = []
    found = found.get("properties", found)
    rules = [
        r.get("properties", {}) | r for key in ("securityRules", "defaultSecurityRules") for r in found.get(key) or []
    ]
    for rule in sorted(rules, key=lambda r: int(r["priority"])):
        to = outward if rule["direction"] == "Outbound" else inward
        to.append(_azure_rule(rule))
    return stateful("network security group", inward, outward, (Verdict.DROP, Verdict.DROP))


def _azure_rule(rule: dict[str, Any]) -> Rule:
    case, transport = Box(), protocol(str(rule["protocol"]))
    if transport is not None:
        case[Field.L4PROTO] = transport
    for side, field in (("source", Field.SPORT), ("destination", Field.DPORT)):
        values = ports(_azure_list(rule, f"{side}PortRange"))
        if values is not None:
            case[field] = values
    cases = [case]
    for side, source in (("source", True), ("destination", False)):
        one_end = [_azure_end(text, source=source) for text in _azure_list(rule, f"{side}AddressPrefix")]
        cases = [{**c, **e} for c in cases for group in one_end for e in group]
    verdict = Verdict.ACCEPT if rule["access"] == "Allow" else Verdict.DROP
    text = f"{rule.get('name', '?')}: {rule['access']} {rule['protocol']} {_azure_list(rule, 'destinationPortRange')}"
    return Rule(text, (When(tuple(cases)), Do(verdict)))


def _azure_list(rule: dict[str, Any], name: str) -> list[str]:
    many = rule.get(f"{name}es" if name.endswith("Prefix") else f"{name}s") or []
    return [str(t) for t in many] or [str(rule.get(name) or "*")]


def _azure_end(text: str, *, source: bool) -> list[Box]:
    side = "saddr" if source else "daddr"
    if text.lower() in PUBLIC_TAGS:
        return [{}]
    if text.lower() in PRIVATE_TAGS:
        return [{Field(f"ip {side}"): PRIVATE[4], Field.NFPROTO: ((2, 2),)},
                {Field(f"ip6 {side}"): PRIVATE[6], Field.NFPROTO: ((10, 10),)}]  # fmt: skip
    try:
        return [ends(text, source=source)]
    except ValueError:
        return [{f"?{text}": ((1, 1),)}]


KINDS = {"aws-sg": _aws, "gcp": _gcp, "azure-nsg": _azure}
