"""The inbound rule as documentation writes it, for a host whose rules may not or need not be looked at.

Room: core.
"""

from __future__ import annotations

from ginnel.core.firewall.changes import Change, FirewalldPort, IptablesAccept, NftAccept, UfwAllow, comment


def generic(backend: str, port: int) -> tuple[Change, ...]:
    """In the tables and chains that the firewall has by default."""
    match backend:
        case "ufw":
            return (UfwAllow(port),)
        case "firewalld":
            return FirewalldPort(port, "", permanent=False), FirewalldPort(port, "", permanent=True)
        case "iptables":
            return tuple(IptablesAccept(port, program, "filter", "INPUT", 1) for program in ("iptables", "ip6tables"))
    return (NftAccept(port, "inet", "filter", "input", 0, comment(port)),)
