"""The table of formats, in the order in which they are listed: this host's firewalls, routers, clouds, lists.

Room: core.
"""

from __future__ import annotations

from ginnel.core.firewall.formats import (
    aws,
    azure,
    cisco_asa,
    cisco_ios,
    firewalld,
    fortigate,
    gcp,
    iptables,
    little_snitch,
    mikrotik,
    nftables,
    opnsense,
    paloalto,
    pf,
    plain,
    squid,
    tables,
    ufw,
    windows,
)
from ginnel.core.firewall.formats.format import Format

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        nftables.FORMAT,
        iptables.FORMATS_BY_FAMILY[4],
        iptables.FORMATS_BY_FAMILY[6],
        ufw.FORMAT,
        firewalld.FORMAT,
        pf.FORMAT,
        windows.NETSH,
        windows.POWERSHELL,
        little_snitch.FORMAT,
        opnsense.FORMAT,
        mikrotik.FORMAT,
        cisco_asa.FORMAT,
        cisco_ios.FORMAT,
        fortigate.FORMAT,
        paloalto.BY_ADDRESS,
        paloalto.BY_DOMAIN,
        paloalto.BY_URL,
        squid.FORMAT,
        aws.TEMPLATE,
        aws.TERRAFORM,
        gcp.BODIES,
        gcp.TERRAFORM,
        azure.TEMPLATE,
        azure.TERRAFORM,
        plain.FORMAT,
        tables.CSV,
        tables.JSON,
    )
}
