"""What a pinned certificate has to be."""

import ssl

import pytest

from ginnel.core.firewall.certificate import read_leaf
from ginnel.core.relay.identity import SelfSigned
from ginnel.core.relay.identity import read_leaf as facts_of
from ginnel.shell.probe.trust import Authorities, Trust
from tests.shell.relays import ENTROPY, NOW

HOST = "192.0.2.1"
MADE = SelfSigned.make(HOST, ENTROPY, NOW)
DER = ssl.PEM_cert_to_DER_cert(MADE.certificate.decode())
LEAF = read_leaf(DER, HOST)
PIN = facts_of(MADE.certificate).pin


def checked(pin: str, now: float) -> str:
    try:
        Trust.by(pin, HOST, Authorities()).check(DER, LEAF, now)
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    return ""


def test_the_pinned_one_is_right_while_it_is_valid() -> None:
    assert LEAF is not None
    assert checked(PIN, NOW) == ""
    assert checked(PIN, LEAF.not_before - 1) == "certificate is not yet valid"
    assert checked(PIN, LEAF.not_after + 1) == "certificate has expired"


def test_another_one_is_wrong_and_where_any_will_do_the_dates_say_nothing() -> None:
    assert "pins" in checked("sha256-raw:" + 64 * "0", NOW)
    assert checked("insecure", 0.0) == ""


@pytest.mark.parametrize("pin", [PIN, PIN.upper().replace("SHA256-RAW", "sha256-raw")])
def test_a_pin_is_read_in_either_case(pin: str) -> None:
    assert checked(pin, NOW) == ""
