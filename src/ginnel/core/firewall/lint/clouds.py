"""Security groups of AWS, firewall rules of Google Cloud, network security groups of Azure, as their tools list them.

Room: core. Sources: `aws ec2 describe-security-groups`, `gcloud compute firewall-rules list --format json`,
`az network nsg show`. All let answers pass by themselves. Another group or a tag as the other end is not understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ginnel.core.firewall.lint.fields import PRIVATE, Box, Field
from ginnel.core.firewall.lint.ints import both, span
from ginnel.core.firewall.lint.model import MAX_RULES, Do, LintError, Rule, RuleSet, Step, Verdict, When
from ginnel.core.firewall.lint.nft_rule import doubt, merged
from ginnel.core.firewall.lint.stateful import ends, listed, ports, protocol, stateful

NOTE = "the host's own firewall is not in this file: lint that too"
PUBLIC_TAGS = ("*", "internet", "any", "0.0.0.0/0")
PRIVATE_TAGS = ("virtualnetwork", "azureloadbalancer")


Groups = tuple[str, ...]


def parse(text: str, kind: str, groups: Groups = ()) -> RuleSet:
    """kind: aws-sg, gcp or azure-nsg. groups: AWS's, or Google's networks, of those in the text; () the only one."""
    try:
        got = KINDS[kind](json.loads(text), groups)
    except RecursionError:
        raise LintError("nested too deeply") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
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


def _chosen(names: Iterable[frozenset[str]], groups: Groups, what: str) -> Callable[[frozenset[str]], bool]:
    """Whether one of the machine's it is, by its names. Another's rules let nothing in here."""
    known = list(dict.fromkeys(names))
    if not groups and len(known) > 1:
        some = ", ".join(max(each) for each in known[:4]) + (", ..." if len(known) > 4 else "")
        raise LintError(f"it has {len(known)} {what} ({some}): name those of this machine with --group")
    for group in groups:
        if not any(group in each for each in known):
            raise LintError(f"it has no {what.removesuffix('s')} {group[:60]}")
    return lambda each: not groups or not each.isdisjoint(groups)


# --- AWS -------------------------------------------------------------------------------------------------------


def _aws(found: Any, groups: Groups) -> RuleSet:
    inward: list[Rule] = []
    outward: list[Rule] = []
    every = listed(found["SecurityGroups"], "SecurityGroups")
    ours = _chosen((_aws_names(group) for group in every), groups, "security groups")
    for group in every:
        if not isinstance(group, dict) or not ours(_aws_names(group)):
            continue
        name = str(group.get("GroupId", "?"))
        for key, rules in (("IpPermissions", inward), ("IpPermissionsEgress", outward)):
            for permission in listed(group.get(key), key):
                rules.append(_aws_rule(permission, name, inward=rules is inward))
    return stateful("security group", inward, outward, (Verdict.DROP, Verdict.DROP))


def _aws_names(group: Any) -> frozenset[str]:
    return frozenset(str(group[key]) for key in ("GroupId", "GroupName") if key in group) or frozenset({"?"})


def _aws_rule(found: Any, group: str, *, inward: bool) -> Rule:
    transport, case = protocol(str(found["IpProtocol"])), Box()
    if transport is not None:
        case[Field.L4PROTO] = transport
        low, high = found.get("FromPort", -1), found.get("ToPort", -1)
        if (low, high) != (-1, -1):
            case[Field.DPORT] = span(int(low), int(high))
    networks = [str(r["CidrIp"]) for r in found.get("IpRanges") or []]
    networks += [str(r["CidrIpv6"]) for r in found.get("Ipv6Ranges") or []]
    others = [str(r.get("GroupId")) for r in found.get("UserIdGroupPairs") or []]
    others += [str(r.get("PrefixListId")) for r in found.get("PrefixListIds") or []]
    side = "from" if inward else "to"
    where = ", ".join([*networks, *others][:6])
    text = f"{group}: {found['IpProtocol']} {found.get('FromPort', '*')}-{found.get('ToPort', '*')} {side} {where}"
    return Rule(text, (*_steps(case, networks, others, inward=inward), Do(Verdict.ACCEPT)))


# --- Google Cloud ----------------------------------------------------------------------------------------------


def _gcp(found: Any, groups: Groups) -> RuleSet:
    inward: list[Rule] = []
    outward: list[Rule] = []
    every = [r for r in listed(found, "the file") if isinstance(r, dict)]
    ours = _chosen((_gcp_network(rule) for rule in every), groups, "networks")
    rules = [r for r in every if not r.get("disabled") and ours(_gcp_network(r))]
    for rule in sorted(rules, key=lambda r: (int(r.get("priority", 1000)), "denied" not in r)):
        to = outward if rule.get("direction") == "EGRESS" else inward
        to += [_gcp_rule(rule, part, inward=to is inward) for part in rule.get("allowed") or rule.get("denied") or []]
    return stateful("Google Cloud firewall", inward, outward, (Verdict.DROP, Verdict.ACCEPT))


def _gcp_network(rule: dict[str, Any]) -> frozenset[str]:
    return frozenset({str(rule.get("network", "default")).rpartition("/")[2]})


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


AZURE_DEFAULTS = [  # of every network security group, whether its text has them or not
    {"name": name, "priority": priority, "direction": direction, "access": access, "protocol": "*",
     "sourceAddressPrefix": source, "destinationAddressPrefix": destination}
    for name, priority, direction, access, source, destination in (
        ("AllowVnetInBound", 65000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
        ("AllowAzureLoadBalancerInBound", 65001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
        ("DenyAllInBound", 65500, "Inbound", "Deny", "*", "*"),
        ("AllowVnetOutBound", 65000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
        ("AllowInternetOutBound", 65001, "Outbound", "Allow", "*", "Internet"),
        ("DenyAllOutBound", 65500, "Outbound", "Deny", "*", "*"),
    )
]  # fmt: skip


def _azure(found: Any, _: Groups) -> RuleSet:
    inward: list[Rule] = []
    outward: list[Rule] = []
    found = found.get("properties", found)
    rules = [
        r.get("properties", {}) | r for key in ("securityRules", "defaultSecurityRules") for r in found.get(key) or []
    ]
    rules += [] if found.get("defaultSecurityRules") else AZURE_DEFAULTS
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
        cases = [merged(c, e) for c in cases for group in one_end for e in group]
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
