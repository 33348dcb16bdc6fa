"""Squid: who may CONNECT where. A proxy carries TCP alone: STUN and tunnels are a packet filter's.

Room: core. `dstdomain` compares with the name that a client says in CONNECT, `dst` with the address. Squid's
`http_access` lines are tried in order, so the file is included before `http_access deny all`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import commented, reasons
from ginnel.core.firewall.formats.targets import addresses as every_address
from ginnel.core.firewall.formats.targets import said_in_tls
from ginnel.core.firewall.needs import Need, Plan


def write(plan: Plan) -> str:
    needs = [need for need in plan.needs if _carried(need)]
    if not needs:
        raise CannotExpress(
            "the plan has no outbound TCP, and a proxy carries nothing else: use a packet filter's format"
        )
    lines = commented("#", FORMAT.notes(plan))
    for need in needs:
        lines += commented("#", reasons(need))
        lines += _lines(need)
    return "\n".join([*lines, ""])


def _carried(need: Need) -> bool:
    return need.direction == "out" and need.transport == "tcp" and need.port is not None


def _lines(need: Need) -> Iterator[str]:
    name = f"ginnel_{need.id.replace('-', '_')}"
    plain = need.port == 80
    yield f"acl {name}_port port {need.port}"
    yield f"acl {'Safe_ports' if plain else 'SSL_ports'} port {need.port}"
    method = "" if plain else " CONNECT"
    if not need.hosts:
        yield f"http_access allow localnet{method} {name}_port"
        return
    targets = said_in_tls(need)
    addresses = [*every_address(need, 4), *every_address(need, 6)]
    for host in targets.names:
        yield f"acl {name}_names dstdomain {host}"
    for address in addresses:
        yield f"acl {name}_addresses dst {address}"
    if targets.names:
        yield f"http_access allow localnet{method} {name}_port {name}_names"
        if not plain:
            yield f"# where TLS is intercepted: acl {name}_sni ssl::server_name then ssl_bump splice {name}_sni"
    if addresses:
        yield f"http_access allow localnet{method} {name}_port {name}_addresses"


def remarks(plan: Plan) -> Iterator[str]:
    left = [need.id for need in plan.needs if not _carried(need)]
    if left:
        yield f"a proxy does not carry {', '.join(left)}: write those for a packet filter, or pairs stay on relays"
    yield "for clients that ask a proxy, as official ones do by HTTPS_PROXY; ginneld asks none: use a packet filter"
    yield "`localnet` is your clients, as in squid.conf; relays hold a CONNECT open for days: raise client_lifetime"


FORMAT = Format(
    name="squid",
    about="access rules for the proxy's CONNECT",
    level="SNI/FQDN",
    comment="#",
    apply="save as /etc/squid/conf.d/ginnel.conf, before the deny; squid -k parse, then -k reconfigure",
    body=write,
    again="replace the file, squid -k reconfigure",
    undo="delete the file, squid -k reconfigure",
    remarks=remarks,
)
