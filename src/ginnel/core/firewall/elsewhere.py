"""The inbound rule for firewalls that are not this host's own, as the command to be run there.

Room: core. Sources: pf.conf(5), netsh advfirewall, the command lines of AWS, Google Cloud and Azure.
"""

from __future__ import annotations

from collections.abc import Callable

ELSEWHERE: dict[str, Callable[[int], tuple[str, ...]]] = {
    "pf": lambda port: (
        f"echo 'pass in quick proto udp from any to any port {port}' | sudo pfctl -a ginnel-open -f -",
        '# once, for the anchor: add the line `anchor "ginnel-open"` to /etc/pf.conf',
    ),
    "netsh": lambda port: (
        f'netsh advfirewall firewall add rule name="ginnel tunnel-in" dir=in action=allow profile=any '
        f"protocol=udp localport={port}",
    ),
    "aws": lambda port: (
        "aws ec2 authorize-security-group-ingress --group-id SECURITY_GROUP --ip-permissions "
        f"'IpProtocol=udp,FromPort={port},ToPort={port},IpRanges=[{{CidrIp=0.0.0.0/0}}],"
        "Ipv6Ranges=[{CidrIpv6=::/0}]'",
    ),
    "gcp": lambda port: tuple(
        f"gcloud compute firewall-rules create ginnel-udp-{port}{suffix} --network NETWORK --direction INGRESS "
        f"--action ALLOW --rules udp:{port} --source-ranges {source}"
        for suffix, source in (("", "0.0.0.0/0"), ("-v6", "::/0"))
    ),
    "azure": lambda port: (
        f"az network nsg rule create --resource-group GROUP --nsg-name NSG --name ginnel-udp-{port} --priority 1000 "
        f"--direction Inbound --access Allow --protocol Udp --source-address-prefixes '*' "
        f"--destination-port-ranges {port}",
    ),
}
"""name -> the lines for a port. Words in capitals are for the user to fill in."""
