"""Certificates and the map entry, against what official programs accepted."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.relay.identity import (
    BadCertificate,
    Place,
    SelfSigned,
    derp_node,
    derp_region,
    meta_certificate,
    pin,
    read_leaf,
)
from ginnel.words import NodeKey, RegionId, WallTime

NOW = WallTime(1_800_000_000.0)
DATE = datetime.fromtimestamp(NOW, UTC)
ENTROPY = bytes(range(64))
KEY = NodeKey(bytes(range(32)))
VECTORS = json.loads((Path(__file__).parents[2] / "vectors/data/derp_tls_certs.json").read_text())


def test_the_pin_of_a_certificate_that_the_official_client_accepted() -> None:
    assert pin(bytes.fromhex(VECTORS["leaf_der"])) == VECTORS["cert_name"]


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_the_derpkey_certificate_has_the_fields_of_an_accepted_one() -> None:
    official = x509.load_der_x509_certificate(bytes.fromhex(VECTORS["meta_der"]))
    ours = x509.load_pem_x509_certificate(meta_certificate(KEY, bytes(32), NOW))
    assert ours.serial_number == official.serial_number == 2
    [name] = ours.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "derpkey" + KEY.raw.hex()
    assert ours.issuer == ours.subject
    assert ours.not_valid_before_utc == DATE - timedelta(days=30)
    assert ours.not_valid_after_utc == DATE + timedelta(days=30)
    assert ours.signature_algorithm_oid == official.signature_algorithm_oid
    basic = ours.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic == official.extensions.get_extension_for_class(x509.BasicConstraints)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "relay.example"])
def test_a_leaf_names_its_host_and_is_signed_by_its_own_key(host: str) -> None:
    made = SelfSigned.make(host, ENTROPY, NOW)
    leaf = x509.load_pem_x509_certificate(made.certificate)
    leaf.verify_directly_issued_by(leaf)
    key = load_pem_private_key(made.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == leaf.public_key()
    facts = read_leaf(made.certificate)
    assert (facts.names, facts.self_signed) == ({host}, True)
    assert facts.pin == "sha256-raw:" + hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    assert made.key not in repr(made).encode()


def test_the_same_entropy_makes_the_same_leaf_and_other_entropy_another() -> None:
    assert SelfSigned.make("a.example", ENTROPY, NOW) == SelfSigned.make("a.example", ENTROPY, NOW)
    assert SelfSigned.make("a.example", ENTROPY, NOW).key != SelfSigned.make("a.example", bytes(64), NOW).key
    with pytest.raises(ValueError, match="64 bytes of entropy"):
        SelfSigned.make("a.example", bytes(63), NOW)


def test_a_leaf_is_renewed_before_it_ends_and_not_early() -> None:
    facts = read_leaf(SelfSigned.make("a.example", ENTROPY, NOW).certificate)
    assert not facts.renewal_due(WallTime(NOW + timedelta(days=3599).total_seconds()))
    assert facts.renewal_due(WallTime(NOW + timedelta(days=3600).total_seconds()))


@given(st.binary(max_size=400))
def test_any_other_bytes_are_no_certificate(text: bytes) -> None:
    with pytest.raises(BadCertificate):
        read_leaf(text)


SELF_SIGNED = read_leaf(SelfSigned.make("a.example", ENTROPY, NOW).certificate)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place("192.0.2.1", port_80=True), ("192.0.2.1", "none", 0, 0, True)),
        (Place("2001:db8::1", port_80=True), ("none", "2001:db8::1", 0, 0, False)),
        (Place("relay.example", port_80=True), ("", "", 0, 0, True)),
        (Place("relay.example", ipv4="192.0.2.1", port_80=True), ("192.0.2.1", "", 0, 0, True)),
        (Place("192.0.2.1", derp_port=8443, stun_port=-1), ("192.0.2.1", "none", -1, 8443, False)),
    ],
)
def test_the_map_entry_says_how_to_reach_the_relay(place: Place, expected: tuple[object, ...]) -> None:
    node = derp_node(place, RegionId(900), SELF_SIGNED)
    assert (node.ipv4, node.ipv6, node.stun_port, node.derp_port, node.can_port80) == expected
    assert (node.name, node.cert_name) == ("900a", SELF_SIGNED.pin)
    assert derp_region(node, "own", "Own relay").nodes == [node]
