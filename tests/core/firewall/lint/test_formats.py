"""ufw's status and the clouds' filters as rule sets; which format a text is in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ginnel.core.firewall.lint.judge import Answer
from ginnel.core.firewall.lint.model import LintError
from ginnel.core.firewall.lint.read import guess, read
from ginnel.core.firewall.lint.trips import Where
from ginnel.core.firewall.needs import Need
from tests.core.firewall.lint.rules import HTTPS, TUNNEL, TUNNEL_IN, answer, finding, nft, save

STUN = Need("stun", "out", "udp", None, 3478)
UFW = """Status: active
Logging: on (low)
Default: deny (incoming), allow (outgoing), disabled (routed)
New profiles: skip

To                         Action      From
--                         ------      ----
22/tcp                     LIMIT IN    Anywhere
80,443/tcp (Nginx Full)    ALLOW IN    Anywhere
41641/udp on eth1          ALLOW IN    Anywhere                   # the tunnel
10.0.0.1 41641/udp         DENY IN     192.168.0.0/16
22/tcp (v6)                ALLOW IN    Anywhere (v6)
41641/udp (v6)             ALLOW IN    Anywhere (v6)

3478/udp                   REJECT OUT  Anywhere                   (log, out)
"""


def test_ufw_status_is_read_line_by_line() -> None:
    rules = read(UFW.encode())
    assert answer(rules, TUNNEL_IN) is Answer.DEPENDS
    assert answer(rules, TUNNEL_IN, where=Where("eth0")) is Answer.BLOCKED
    assert answer(rules, TUNNEL_IN, where=Where("eth1")) is Answer.PASSES
    assert answer(rules, TUNNEL_IN, 6) is Answer.PASSES
    assert answer(rules, HTTPS) is Answer.PASSES
    blocked = finding(rules, STUN)
    assert blocked.answer is Answer.BLOCKED
    assert blocked.quotes[0].text.startswith("3478/udp REJECT OUT Anywhere")


def test_ufw_s_limit_may_drop() -> None:
    assert answer(read(UFW.encode()), Need("ssh", "in", "tcp", None, 22)) is Answer.DEPENDS
    assert answer(read(UFW.encode()), Need("web", "in", "tcp", None, 80)) is Answer.PASSES


def test_ufw_without_its_defaults_is_unknown() -> None:
    short = "Status: active\n\nTo    Action      From\n--    ------   ----\n22/tcp   ALLOW       Anywhere\n"
    rules = read(short.encode())
    assert answer(rules, TUNNEL_IN) is Answer.UNKNOWN
    assert any("verbose" in note for note in rules.notes)


def test_ufw_that_is_off_stops_nothing() -> None:
    assert answer(read(b"Status: inactive\n"), TUNNEL_IN) is Answer.PASSES


def aws(*permissions: dict[str, Any]) -> bytes:
    everywhere = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    group = {"GroupId": "sg-1", "IpPermissions": list(permissions), "IpPermissionsEgress": [everywhere]}
    return json.dumps({"SecurityGroups": [group]}).encode()


def udp(**where: Any) -> dict[str, Any]:
    return {"IpProtocol": "udp", "FromPort": 41641, "ToPort": 41641, **where}


def test_a_security_group_lets_in_what_it_names() -> None:
    rules = read(aws(udp(IpRanges=[{"CidrIp": "0.0.0.0/0"}])))
    assert answer(rules, TUNNEL_IN) is Answer.PASSES
    assert answer(rules, TUNNEL_IN, 6) is Answer.BLOCKED
    assert answer(rules, TUNNEL) is Answer.PASSES
    assert answer(read(aws()), TUNNEL_IN) is Answer.BLOCKED
    assert answer(read(aws(udp(IpRanges=[{"CidrIp": "8.0.0.0/8"}]))), TUNNEL_IN) is Answer.DEPENDS


def test_another_machine_s_group_lets_nothing_in() -> None:
    wide = json.loads(aws(udp(IpRanges=[{"CidrIp": "0.0.0.0/0"}])))["SecurityGroups"][0]
    web = json.loads(aws())["SecurityGroups"][0]
    both = json.dumps({"SecurityGroups": [{**web, "GroupId": "sg-web"}, {**wide, "GroupId": "sg-vpn"}]}).encode()
    with pytest.raises(LintError, match=r"2 security groups \(sg-web, sg-vpn\): name those .* --group"):
        read(both)
    assert answer(read(both, groups=("sg-web",)), TUNNEL_IN) is Answer.BLOCKED
    assert answer(read(both, groups=("sg-web", "sg-vpn")), TUNNEL_IN) is Answer.PASSES
    with pytest.raises(LintError, match="no security group sg-x"):
        read(both, groups=("sg-x",))


def test_another_network_s_rules_let_nothing_in() -> None:
    allow = {"direction": "INGRESS", "sourceRanges": ["0.0.0.0/0"], "allowed": [{"IPProtocol": "udp"}],
             "network": "https://x/global/networks/other"}  # fmt: skip
    both = json.dumps([allow, {**allow, "network": "https://x/global/networks/mine", "disabled": True}]).encode()
    with pytest.raises(LintError, match="2 networks"):
        read(both)
    assert answer(read(both, groups=("mine",)), TUNNEL_IN) is Answer.BLOCKED


@pytest.mark.parametrize("port", ["1e400", "[]", "9"])
def test_ports_that_are_none_are_an_error_or_nothing(port: str) -> None:
    text = aws(udp(IpRanges=[{"CidrIp": "0.0.0.0/0"}])).decode().replace('"ToPort": 41641', f'"ToPort": {port}')
    try:
        assert answer(read(text.encode()), TUNNEL_IN) is Answer.BLOCKED
    except LintError:
        assert port != "9"


def test_another_group_as_the_source_is_not_understood() -> None:
    assert answer(read(aws(udp(UserIdGroupPairs=[{"GroupId": "sg-2"}]))), TUNNEL_IN) is Answer.UNKNOWN


def test_google_cloud_asks_the_lower_priority_first_and_denies_before_it_allows() -> None:
    allow = {"name": "a", "direction": "INGRESS", "priority": 1000, "sourceRanges": ["0.0.0.0/0"],
             "allowed": [{"IPProtocol": "udp", "ports": ["41641"]}]}  # fmt: skip
    deny = {"name": "d", "direction": "INGRESS", "priority": 1000, "sourceRanges": ["0.0.0.0/0"],
            "denied": [{"IPProtocol": "all"}]}  # fmt: skip
    assert answer(read(json.dumps([allow]).encode()), TUNNEL_IN) is Answer.PASSES
    assert answer(read(json.dumps([allow, deny]).encode()), TUNNEL_IN) is Answer.BLOCKED
    assert answer(read(json.dumps([{**allow, "priority": 900}, deny]).encode()), TUNNEL_IN) is Answer.PASSES
    assert answer(read(json.dumps([{**allow, "disabled": True}]).encode()), TUNNEL_IN) is Answer.BLOCKED
    assert answer(read(json.dumps([{**allow, "targetTags": ["vpn"]}]).encode()), TUNNEL_IN) is Answer.UNKNOWN
    assert answer(read(json.dumps([allow]).encode()), HTTPS) is Answer.PASSES


def test_azure_s_own_rules_count_where_the_text_leaves_them_out() -> None:
    text = json.loads(azure())
    del text["defaultSecurityRules"]
    assert answer(read(json.dumps(text).encode()), HTTPS) is Answer.PASSES
    assert answer(read(json.dumps(text).encode()), Need("ssh", "in", "tcp", None, 22)) is Answer.BLOCKED


def azure(**rule: Any) -> bytes:
    open_it = {"name": "tunnel", "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Udp",
               "sourcePortRange": "*", "destinationPortRange": "41641", "sourceAddressPrefix": "*",
               "destinationAddressPrefix": "*", **rule}  # fmt: skip
    return json.dumps({"name": "nsg", "securityRules": [open_it], "defaultSecurityRules": []}).encode()


def test_azure_s_tags_are_known_or_unknown() -> None:
    assert answer(read(azure()), TUNNEL_IN) is Answer.PASSES
    assert answer(read(azure(sourceAddressPrefix="Internet")), TUNNEL_IN) is Answer.PASSES
    assert answer(read(azure(sourceAddressPrefix="VirtualNetwork")), TUNNEL_IN) is Answer.BLOCKED
    assert answer(read(azure(sourceAddressPrefix="Storage")), TUNNEL_IN) is Answer.UNKNOWN
    assert answer(read(azure(access="Deny")), TUNNEL_IN) is Answer.BLOCKED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nft-json", nft()),
        ("iptables-save", save()),
        ("ufw-status", UFW),
        ("aws-sg", aws().decode()),
        ("azure-nsg", azure().decode()),
        ("gcp", '[{"direction": "INGRESS"}]'),
    ],
)
def test_the_format_is_told_from_the_text(name: str, text: str) -> None:
    assert guess(text) == name
