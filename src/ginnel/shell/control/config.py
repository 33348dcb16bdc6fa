"""The server's settings: a TOML file, of which every line may be missing, and the command line over it.

Room: shell.
"""

from __future__ import annotations

import re
import socket
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from ginnel.core.relaydns.zone import letters
from ginnel.shell.control.config_relays import ConfigError, RelayConfig, RelaysConfig, Table, check_relay, check_relays
from ginnel.shell.control.place import default_state
from ginnel.shell.relaydns.config import RelayDnsConfig
from ginnel.wire.tailcfg import DERPNode, DERPRegion


class DnsConfig(Table, frozen=True):
    """`nameservers`: used for every name that is not the mesh's, when `override_local_dns`; a fallback otherwise."""

    base_domain: str = "mesh.internal"
    magic_dns: bool = True
    nameservers: tuple[str, ...] = ()
    override_local_dns: bool = False
    search_domains: tuple[str, ...] = ()


class RegionNodeConfig(Table, frozen=True):
    host: str
    cert_name: str = ""
    ipv4: str = ""
    ipv6: str = ""
    stun_port: int = 0
    port: int = 0
    can_port80: bool = False


class RegionConfig(Table, frozen=True):
    """A relay that somebody else runs."""

    code: str
    name: str
    nodes: list[RegionNodeConfig]
    latitude: float = 0.0
    longitude: float = 0.0


class LogHostConfig(Table, frozen=True):
    """`names`: the host names that take clients' logs; none: nobody's. `quiet_others`: clients that have not uploaded
    here are told not to upload anywhere."""

    names: tuple[str, ...] = ()
    retention_days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = 30.0
    max_mib: Annotated[int, msgspec.Meta(ge=1)] = 1024
    per_node_mib: Annotated[int, msgspec.Meta(ge=1)] = 64
    quiet_others: bool = True


class AcmeConfig(Table, frozen=True):
    """An authority signs for the host of `url`; whoever writes this table agrees to its terms of service. `url`: its
    directory, Let's Encrypt's if empty. `ca`: PEM file that vouches for an authority of one's own."""

    url: str = ""
    ca: str = ""
    email: str = ""


class ServerConfig(Table, frozen=True):
    """`url`: as clients reach the server. `listen`, `listen_http`, `stun_listen`: "ip:port" each. `listen_plain`: HTTP
    without TLS, for a proxy in front. `metrics`: "ip:port" of the numbers. `policy`: a file, read at the start
    and again on SIGHUP."""

    state: str = ""
    url: str = ""
    listen: tuple[str, ...] = ("[::]:443",)
    listen_http: tuple[str, ...] = ("[::]:80",)
    stun_listen: tuple[str, ...] = ("[::]:3478",)
    listen_plain: tuple[str, ...] = ()
    certificate: str = ""
    certificate_key: str = ""
    metrics: str = ""
    policy: str = ""
    key_days: float = 0.0
    dns: DnsConfig = DnsConfig()
    relay: RelayConfig = RelayConfig()
    relays: RelaysConfig = RelaysConfig()
    acme: AcmeConfig | None = None
    regions: dict[str, RegionConfig] = msgspec.field(default_factory=dict)
    relay_dns: RelayDnsConfig = RelayDnsConfig()
    log_host: LogHostConfig = LogHostConfig()


def read_config(path: Path | None, overrides: dict[str, Any]) -> ServerConfig:
    """The file's settings with the command line's over them, complete and checked. Raises ConfigError."""
    text, loaded = _load(path)
    for name, value in overrides.items():
        if value not in (None, ()):
            loaded[name] = value
    try:
        config = msgspec.convert(loaded, ServerConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(_located(path, text, str(error))) from None
    config = msgspec.structs.replace(config, state=config.state or default_state(), url=(config.url or guess_url()))
    return _checked(config)


def _load(path: Path | None) -> tuple[str, dict[str, Any]]:
    if path is None:
        return "", {}
    try:
        text = path.read_text()
        return text, tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None


def _located(path: Path | None, text: str, message: str) -> str:
    """msgspec names the key, TOML knew its line."""
    named = re.search(r"unknown field `([^`]+)`", message)
    key = named.group(1) if named else message.rpartition("`$.")[2].rstrip("`").rpartition(".")[2]
    pattern = re.compile(rf"^\s*\[*\s*(?:[\w.\"-]+\.)?\"?{re.escape(key)}\"?\s*[=\].]") if key else None
    for number, line in enumerate(text.splitlines(), 1):
        if pattern is not None and pattern.match(line):
            return f"{path} line {number}: {message}"
    return f"{path or 'command line'}: {message}"


def guess_url() -> str:
    """The address this machine uses towards the internet; a connected UDP socket sends nothing."""
    for family, probe in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as found:
                found.connect((probe, 9))
                address = str(found.getsockname()[0])
        except OSError:
            continue
        return f"https://[{address}]" if ":" in address else f"https://{address}"
    raise ConfigError("this machine has no address to be reached at; say one by --url https://...")


def _checked(config: ServerConfig) -> ServerConfig:
    url = config.url.rstrip("/")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.path or parts.query or parts.username:
        raise ConfigError(f"expected --url as https://host or https://host:port, got {config.url!r}")
    domain = config.dns.base_domain.strip(".").lower()
    if not re.fullmatch(r"(?=.{1,200}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", domain):
        raise ConfigError(f"dns.base_domain {config.dns.base_domain!r} is not a domain of two labels or more")
    if host == domain or host.endswith("." + domain):
        raise ConfigError(
            f"dns.base_domain {domain} must not contain the server's own name {host}: clients would lose it"
        )
    if config.acme is not None and (config.certificate or not config.relay.enabled or parts.scheme != "https"):
        raise ConfigError("[acme] obtains the certificate: it needs the relay and an https url, and no certificate")
    metrics = (config.metrics,) if config.metrics else ()
    for endpoint in (*config.listen, *config.listen_http, *config.stun_listen, *config.listen_plain, *metrics):
        split_endpoint(endpoint)
    check_relay(config.relay)
    check_relays(config.relays)
    for name in config.log_host.names:
        if not _is_host(name):
            raise ConfigError(f"log_host.names: {name!r} is not a host name; write it without https:// and port")
    dns = msgspec.structs.replace(config.dns, base_domain=domain)
    return msgspec.structs.replace(config, url=url, dns=dns)


def _is_host(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return re.fullmatch(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", text) is not None


def split_endpoint(text: str) -> tuple[str, int]:
    """`ip:port`, `[ip]:port` or `:port`. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") or "::"
    try:
        ip_address(host)
    except ValueError:
        colon = ""
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"expected an address to listen on as ip:port, got {text!r}")
    return host, int(port)


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def static_regions(config: ServerConfig) -> dict[int, DERPRegion]:
    """Raises ConfigError."""
    regions = {}
    for key, region in config.regions.items():
        if not key.isdigit() or not 0 < int(key) <= 65535:
            raise ConfigError(f"regions.{key}: a region's number is 1 to 65535")
        if not region.nodes:
            raise ConfigError(f"regions.{key}: a region needs a relay; one without could become a node's home")
        number = int(key)
        regions[number] = DERPRegion(
            region_id=number,
            region_code=region.code,
            region_name=region.name,
            latitude=region.latitude,
            longitude=region.longitude,
            nodes=[_region_node(number, index, node) for index, node in enumerate(region.nodes)],
        )
    return regions


def _region_node(region: int, index: int, node: RegionNodeConfig) -> DERPNode:
    return DERPNode(
        name=f"{region}{letters(index)}",
        region_id=region,
        host_name=node.host,
        cert_name=node.cert_name,
        ipv4=node.ipv4,
        ipv6=node.ipv6,
        stun_port=node.stun_port,
        derp_port=node.port,
        can_port80=node.can_port80,
    )
