"""The command line of `ginnel relay run`, checked.

Room: cli.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ginnel.words import RegionId

if TYPE_CHECKING:
    from ginnel.core.relay.bootstrap import BootstrapNames
    from ginnel.shell.relay_settings import AcmeSettings, RelaySettings, VerifySettings

LEAVE_TIME = 10.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    hostname: str
    state: str
    listen: tuple[str, ...]
    http: tuple[str, ...]
    stun: tuple[str, ...]
    cert: Path | None
    key: Path | None
    acme: bool
    acme_url: str | None
    acme_ca: Path | None
    acme_email: str
    members_only: bool
    members: Path | None
    verify_url: str | None
    verify_ca: Path | None
    verify_fail_open: bool
    verify_remember: int
    client_rate: int
    bootstrap_dns_names: str
    unpublished_bootstrap_dns_names: str
    metrics: str | None
    region: int
    join: str | None
    ipv4: str
    ipv6: str
    drain_time: float | None
    as_json: bool

    def settings(self, *, joins: bool) -> RelaySettings:
        """`joins`: a server says who the members are. Raises click.UsageError."""
        from ginnel.shell.relay_settings import RelaySettings
        from ginnel.shell.systemd import inherited_sockets

        if joins and self.members is not None:
            raise click.UsageError("the server of the fleet says who the members are: leave out --members")
        if self.members_only and self.members is None and not joins:
            raise click.UsageError("--members-only needs the list: --members FILE")
        _check_address("--ipv4", self.ipv4, IPv4Address)
        _check_address("--ipv6", self.ipv6, IPv6Address)
        settings = RelaySettings(
            state=Path(self.state),
            hostname=self.hostname,
            tls=_addresses(self.listen or ("443",)),
            http=_addresses(self.http or ("80",)),
            stun=_addresses(self.stun or ("3478",)),
            certificate=self.cert,
            certificate_key=self.key,
            acme=self._acme(),
            verify=self._verify(),
            members_only=self.members_only or joins,
            ipv4=self.ipv4,
            ipv6=self.ipv6,
            receive_rate=self.client_rate,
            region=RegionId(self.region),
            inherited=inherited_sockets(),
        )
        if not settings.tls:
            raise click.UsageError("a relay has to listen somewhere: --listen 443")
        return settings

    def bootstrap(self) -> BootstrapNames:
        """Raises click.UsageError."""
        from ginnel.core.firewall.checked import Refused
        from ginnel.core.relay.bootstrap import BootstrapNames, names_of

        try:
            return BootstrapNames(names_of(self.bootstrap_dns_names), names_of(self.unpublished_bootstrap_dns_names))
        except Refused as error:
            raise click.UsageError(f"--bootstrap-dns-names: {error}") from None

    def leave_time(self, settings: RelaySettings) -> float:
        """Where another process is about to take over the same sockets, clients need not go elsewhere."""
        if self.drain_time is not None:
            return self.drain_time
        return 0.0 if settings.inherited else LEAVE_TIME

    def _acme(self) -> AcmeSettings | None:
        from ginnel.shell.relay_settings import LETS_ENCRYPT, AcmeSettings

        if not self.acme:
            if self.acme_url or self.acme_ca or self.acme_email:
                raise click.UsageError("--acme-url, --acme-ca and --acme-email say how: add --acme")
            return None
        if self.cert is not None or self.key is not None:
            raise click.UsageError("--acme obtains the certificate: leave out --cert and --key")
        return AcmeSettings(self.acme_url or LETS_ENCRYPT, self.acme_ca, self.acme_email)

    def _verify(self) -> VerifySettings | None:
        from ginnel.shell.relay_settings import VerifySettings

        if self.verify_url is None:
            if self.verify_ca is not None or self.verify_fail_open:
                raise click.UsageError("--verify-ca and --verify-fail-open need --verify-url URL")
            return None
        return VerifySettings(self.verify_url, self.verify_fail_open, float(self.verify_remember), self.verify_ca)


def _check_address(option: str, text: str, family: type[IPv4Address] | type[IPv6Address]) -> None:
    """As they may stand in a DERP map: `none` turns the family off."""
    try:
        good = text in ("", "none") or "%" not in str(family(text))
    except ValueError:
        good = False
    if not good:
        raise click.UsageError(f"{option} takes an IPv{option[-1]} address, or none where there is none, not {text!r}")


def _addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    from ginnel.shell.relay_settings import listen_anywhere

    given = [text for text in texts if text != "none"]
    return tuple(listen_anywhere(int(text)) if text.isascii() and text.isdigit() else text for text in given)
