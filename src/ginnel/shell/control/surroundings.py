"""What every client is told beside its peers, from the configuration and the fleet.

Room: shell.
"""

from __future__ import annotations

from ginnel.core.control.derp_views import DerpViews
from ginnel.core.control.mapper import Surroundings
from ginnel.core.firewall.told import Told
from ginnel.shell.control.config import ServerConfig, host_of
from ginnel.wire.tailcfg import DNSConfig, Resolver, encode


def surroundings_of(config: ServerConfig, views: DerpViews, feed: str = "") -> Surroundings:
    """`feed`: the key that signs the allowlist."""
    dns = config.dns
    resolvers = [Resolver(addr=address) for address in dns.nameservers] or None
    dns_config = DNSConfig(
        resolvers=resolvers if dns.override_local_dns else None,
        fallback_resolvers=None if dns.override_local_dns else resolvers,
        domains=[dns.base_domain, *dns.search_domains],
        proxied=dns.magic_dns,
    )
    return Surroundings(dns.base_domain, host_of(config.url), encode(dns_config), b"", views, told_of(config, feed))


def told_of(config: ServerConfig, feed: str = "") -> Told:
    return Told(config.relay_dns.zone.removesuffix("."), config.log_host.names, feed)
