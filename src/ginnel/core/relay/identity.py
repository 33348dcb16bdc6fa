"""What a relay is known by: its certificates, the pin of the leaf, and its entry in the DERP map.

Room: core. Entropy and time are arguments; no files, sockets or clocks come in.
Sources: tailscale: derp/derphttp/derphttp_client.go (parseMetaCert, `sha256-raw:` pins), derp/derpserver/derpserver.go
(the `derpkey` certificate), tailcfg/derpmap.go. One leaf alone may come before the `derpkey` certificate when the leaf
is pinned: clients refuse a pinned chain with more.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ginnel.wire.tailcfg import DERPNode, DERPRegion
from ginnel.words import NodeKey, RegionId, WallTime

ENTROPY_SIZE = 64
PROTOCOL_VERSION = 2
META_VALIDITY = timedelta(days=30)
META_RENEWAL = timedelta(days=20)
"""Age at which the `derpkey` certificate is made anew; it lives 30 days, and clients check its dates."""

LEAF_VALIDITY = timedelta(days=3650)
LEAF_RENEWAL = timedelta(days=3600)
"""The leaf lives long because each new one is a new pin, which every node must learn before it can connect."""

CLOCK_SKEW = timedelta(days=1)
"""By which a certificate made here begins earlier than it is made."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")


class BadCertificate(ValueError):
    """The text is not a certificate chain. One line for people."""


@dataclass(frozen=True, slots=True, repr=False)
class SelfSigned:
    """A leaf made here and its key, both PEM."""

    certificate: bytes
    key: bytes

    @classmethod
    def make(cls, host: str, entropy: bytes, now: WallTime) -> Self:
        """A P-256 leaf for a host name or IP literal; `entropy` is ENTROPY_SIZE bytes, never used before."""
        if len(entropy) != ENTROPY_SIZE:
            raise ValueError(f"expected {ENTROPY_SIZE} bytes of entropy, got {len(entropy)}")
        secret = 1 + int.from_bytes(_derive(entropy, b"key")) % (_P256_ORDER - 1)
        key = ec.derive_private_key(secret, ec.SECP256R1())
        serial = 1 + int.from_bytes(_derive(entropy, b"serial")[:16])
        leaf = _leaf(host, serial, key.public_key(), now).sign(key, hashes.SHA256(), ecdsa_deterministic=True)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(leaf.public_bytes(Encoding.PEM), pem)


def _derive(entropy: bytes, label: bytes) -> bytes:
    return hmac.digest(entropy, b"ginnel relay leaf " + label, "sha512")


def _leaf(host: str, serial: int, key: ec.EllipticCurvePublicKey, now: WallTime) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    return (
        _self_named(name, serial, (_date(now) - CLOCK_SKEW, _date(now) + LEAF_VALIDITY))
        .public_key(key)
        .add_extension(x509.SubjectAlternativeName([_alternative_name(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )


def _self_named(name: x509.Name, serial: int, valid: tuple[datetime, datetime]) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer_name=name, subject_name=name, serial_number=serial)
    return builder.not_valid_before(valid[0]).not_valid_after(valid[1])


def _date(now: WallTime) -> datetime:
    return datetime.fromtimestamp(int(now), UTC)


def _alternative_name(host: str) -> x509.GeneralName:
    address = as_address(host)
    return x509.IPAddress(address) if address is not None else x509.DNSName(host)


def as_address(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that the host is, or None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_host(text: str) -> bool:
    """An IP address, or a name as DNS and certificates bear it."""
    return as_address(text) is not None or (len(text) <= 253 and _NAME.fullmatch(text) is not None)


def meta_certificate(relay_key: NodeKey, seed: bytes, now: WallTime) -> bytes:
    """The certificate that tells clients the relay's key before its first frame, PEM. `seed` is 32 bytes.

    Its name has 71 characters where X.509 allows 64: the library has to be told not to mind.
    """
    text = "derpkey" + relay_key.raw.hex()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _validate=False)])
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signed = (
        _self_named(name, PROTOCOL_VERSION, (_date(now) - META_VALIDITY, _date(now) + META_VALIDITY))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )
    return signed.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class LeafFacts:
    """What the first certificate of a chain says of itself."""

    pin: str
    self_signed: bool
    names: frozenset[str]
    made: WallTime
    expires: WallTime

    def renewal_due(self, now: WallTime) -> bool:
        """Whether a self-made leaf is to be made anew."""
        return now >= self.made + LEAF_RENEWAL.total_seconds() or now >= self.expires


def read_leaf(chain: bytes) -> LeafFacts:
    """Raises BadCertificate."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, IndexError):
        raise BadCertificate("expected a PEM certificate chain, leaf first") from None
    return LeafFacts(
        pin=pin(leaf.public_bytes(Encoding.DER)),
        self_signed=leaf.issuer == leaf.subject,
        names=_names(leaf),
        made=WallTime((leaf.not_valid_before_utc + CLOCK_SKEW).timestamp()),
        expires=WallTime(leaf.not_valid_after_utc.timestamp()),
    )


def fits(chain: bytes, key: bytes) -> bool:
    """Whether the PEM key is the leaf's."""
    try:
        private = load_pem_private_key(key, None)
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, TypeError, IndexError):
        return False
    return private.public_key() == leaf.public_key()


def _names(leaf: x509.Certificate) -> frozenset[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return frozenset((*names.get_values_for_type(x509.DNSName), *addresses))


def pin(leaf_der: bytes) -> str:
    """The `CertName` by which official clients pin a leaf."""
    return "sha256-raw:" + hashlib.sha256(leaf_der).hexdigest()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a relay is reached. `derp_port`, `stun_port`: as seen from outside; `stun_port` -1: no STUN."""

    host: str
    derp_port: int = 443
    stun_port: int = 3478
    port_80: bool = False
    ipv4: str = ""
    ipv6: str = ""


def derp_node(place: Place, region: RegionId, leaf: LeafFacts) -> DERPNode:
    """The relay's entry in the DERP map. A leaf that no authority signed is pinned."""
    address = as_address(place.host)
    ipv4 = place.host if isinstance(address, IPv4Address) else place.ipv4 or ("none" if address else "")
    ipv6 = place.host if isinstance(address, IPv6Address) else place.ipv6 or ("none" if address else "")
    return DERPNode(
        name=f"{region}a",
        region_id=region,
        host_name=place.host,
        cert_name=leaf.pin if leaf.self_signed else "",
        ipv4=ipv4,
        ipv6=ipv6,
        stun_port=0 if place.stun_port == 3478 else place.stun_port,
        derp_port=0 if place.derp_port == 443 else place.derp_port,
        # Clients ask for it only where the map holds an IPv4 address; a name's is found by the server's look at it.
        can_port80=place.port_80 and ipv4 != "none",
    )


def derp_region(node: DERPNode, code: str, name: str) -> DERPRegion:
    """A region with this relay alone."""
    return DERPRegion(region_id=node.region_id, region_code=code, region_name=name, nodes=[node])
