"""What a certificate says of itself, read from any bytes.

Room: core. Whether it is trusted is judged by TLS (`shell/probe/trust.py`); here is what a person wants to know of one
that is not: whose it is, and who issued it.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from ginnel.core.firewall.evidence import TEXT_KEPT, Leaf
from ginnel.core.relay.identity import as_address
from ginnel.wire.derpmap import PIN


def read_leaf(der: bytes, host: str) -> Leaf | None:
    """None where the bytes are no certificate. `host`: the name or address that was asked for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd certificates are what this is for
            read = x509.load_der_x509_certificate(der)
            return Leaf(
                issuer=_name(read.issuer),
                subject=_name(read.subject),
                self_signed=read.issuer == read.subject,
                covers=_covers(_names(read), host),
                not_before=read.not_valid_before_utc.timestamp(),
                not_after=read.not_valid_after_utc.timestamp(),
                pin=PIN + hashlib.sha256(der).hexdigest(),
            )
    except (ValueError, TypeError, OverflowError, x509.UnsupportedGeneralNameType):
        return None


def _name(name: x509.Name) -> str:
    """The common name, with the organisation where that says more."""
    common = _first(name, NameOID.COMMON_NAME)
    organisation = _first(name, NameOID.ORGANIZATION_NAME)
    parts = [part for part in (common, organisation) if part]
    text = ", ".join(dict.fromkeys(parts)) or name.rfc4514_string() or "nobody"
    return printable(text)


def _first(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    return next((str(found.value) for found in name.get_attributes_for_oid(oid)), "")


def printable(text: str) -> str:
    """One short line, whatever a stranger wrote."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:TEXT_KEPT])


def _names(certificate: x509.Certificate) -> list[str]:
    """Alternative names; of a certificate without any the common name."""
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return [_first(certificate.subject, NameOID.COMMON_NAME)]
    if not isinstance(names, x509.SubjectAlternativeName):
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _covers(names: Iterable[str], host: str) -> bool:
    """RFC 9525 §6.3: a star stands for one whole label, the leftmost."""
    host = host.rstrip(".").lower()
    parent = "*." + host.partition(".")[2]
    wanted = (host,) if as_address(host) is not None else (host, parent)
    return any(name.rstrip(".").lower() in wanted for name in names)
