"""The names that this server's relays tell clients whose DNS fails.

Room: shell.
"""

from __future__ import annotations

from ginnel.core.firewall.checked import literal
from ginnel.core.relay.bootstrap import BootstrapNames, names_of, usable_names
from ginnel.shell.control.config import ServerConfig, host_of


def bootstrap_names(config: ServerConfig) -> BootstrapNames:
    """The server's own, where log-ins go too, those of its log host, and what the settings say. Where the settings tell
    the addresses of the server's own name, it takes no DNS to answer for it."""
    relay = config.relay
    own = usable_names([host_of(config.url)])
    addresses = tuple(ip for ip in map(literal, relay.addresses) if ip is not None)
    return BootstrapNames(
        frozenset(usable_names(config.log_host.names)) | names_of(",".join(relay.bootstrap_dns_names)) | set(own),
        names_of(",".join(relay.unpublished_bootstrap_dns_names)),
        {name: addresses for name in own if addresses},
    )
