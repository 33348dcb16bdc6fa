"""The inbound rule for each firewall, as a user would type it: golden lines."""

from __future__ import annotations

import pytest

from ginnel.core.firewall.backends import Backend, who_blocks
from ginnel.core.firewall.changes import CannotChange, changes_for, command, shown, undo
from ginnel.core.firewall.elsewhere import ELSEWHERE
from ginnel.core.firewall.generic import generic
from ginnel.core.firewall.lint import iptables, nft_json
from ginnel.core.firewall.lint.trips import Where
from tests.core.firewall.lint.rules import nft, save

COMMENT = "ginnel: tunnel port 41641"
IPTABLES = f"-p udp -m udp --dport 41641 -m comment --comment '{COMMENT}' -j ACCEPT"
GOLDEN = {
    "ufw": ["sudo ufw allow 41641/udp"],
    "firewalld": ["sudo firewall-cmd --add-port=41641/udp", "sudo firewall-cmd --permanent --add-port=41641/udp"],
    "nftables": [f"sudo nft add rule inet filter input udp dport 41641 accept comment '\"{COMMENT}\"'"],
    "iptables": [
        f"sudo iptables -w 5 -t filter -I INPUT 1 {IPTABLES}",
        f"sudo ip6tables -w 5 -t filter -I INPUT 1 {IPTABLES}",
    ],
}
GOLDEN_ELSEWHERE = {
    "pf": (
        "echo 'pass in quick proto udp from any to any port 41641' | sudo pfctl -a ginnel-open -f -",
        '# once, for the anchor: add the line `anchor "ginnel-open"` to /etc/pf.conf',
    ),
    "netsh": (
        'netsh advfirewall firewall add rule name="ginnel tunnel-in" dir=in action=allow profile=any protocol=udp '
        "localport=41641",
    ),
    "aws": (
        "aws ec2 authorize-security-group-ingress --group-id SECURITY_GROUP --ip-permissions 'IpProtocol=udp,"
        "FromPort=41641,ToPort=41641,IpRanges=[{CidrIp=0.0.0.0/0}],Ipv6Ranges=[{CidrIpv6=::/0}]'",
    ),
    "gcp": (
        "gcloud compute firewall-rules create ginnel-udp-41641 --network NETWORK --direction INGRESS --action ALLOW "
        "--rules udp:41641 --source-ranges 0.0.0.0/0",
        "gcloud compute firewall-rules create ginnel-udp-41641-v6 --network NETWORK --direction INGRESS --action ALLOW "
        "--rules udp:41641 --source-ranges ::/0",
    ),
    "azure": (
        "az network nsg rule create --resource-group GROUP --nsg-name NSG --name ginnel-udp-41641 --priority 1000 "
        "--direction Inbound --access Allow --protocol Udp --source-address-prefixes '*' "
        "--destination-port-ranges 41641",
    ),
}


@pytest.mark.parametrize("backend", GOLDEN)
def test_the_command_of_each_firewall_of_this_host(backend: str) -> None:
    assert [shown(command(change)) for change in generic(backend, 41641)] == GOLDEN[backend]


@pytest.mark.parametrize("backend", GOLDEN_ELSEWHERE)
def test_the_command_of_each_firewall_elsewhere(backend: str) -> None:
    assert ELSEWHERE[backend](41641) == GOLDEN_ELSEWHERE[backend]


def test_ufw_s_undo_is_its_own_delete() -> None:
    assert undo(generic("ufw", 41641)[0]) == ("ufw", "delete", "allow", "41641/udp")


def test_whose_rules_decide_is_told_by_their_tables() -> None:
    firewalld = nft().replace('"t"', '"firewalld"')
    cases = {
        Backend.UFW: iptables.parse(save(chains=("ufw-user-input",))),
        Backend.IPTABLES: iptables.parse(save()),
        Backend.NFTABLES: nft_json.parse(nft()),
        Backend.FIREWALLD: nft_json.parse(firewalld),
    }
    for backend, rules in cases.items():
        assert {b.backend for b in who_blocks(rules, 41641, Where()).blocked} == {backend}


def test_a_firewall_that_is_installed_but_lets_all_pass_is_not_in_charge() -> None:
    rules = iptables.parse(save(policy="ACCEPT", chains=("ufw-user-input",))).joined(nft_json.parse(nft()))
    assert {b.backend for b in who_blocks(rules, 41641, Where()).blocked} == {Backend.NFTABLES}


def test_an_accept_that_would_come_too_late_goes_to_the_head() -> None:
    """A return in the base chain leads to the policy past anything that is added at the end."""
    rules = nft_json.parse(nft([{"return": None}]))
    (change, *_) = changes_for(who_blocks(rules, 41641, Where()), 41641)
    assert shown(command(change)).startswith("sudo nft insert rule inet t c handle 5 udp dport 41641")


def test_a_table_with_an_odd_name_is_not_touched() -> None:
    rules = nft_json.parse(nft().replace('"t"', '"t; flush ruleset"'))
    with pytest.raises(CannotChange, match="by hand"):
        changes_for(who_blocks(rules, 41641, Where()), 41641)
