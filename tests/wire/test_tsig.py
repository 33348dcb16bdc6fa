"""Signed messages, against dnspython's signatures."""

import time
from contextlib import suppress

import dns.message
import dns.name
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.dns import A, name_of, query_bytes
from ginnel.wire.read import Malformed, WireError
from ginnel.wire.tsig import (
    ALGORITHMS,
    BADKEY,
    BADSIG,
    BADTIME,
    BadSignature,
    TsigKey,
    find_tsig,
    read_tsig,
    sign,
    verify,
)

SECRET = bytes(range(32))
KEY = TsigKey(name_of("key.example"), "hmac-sha256", SECRET)
QUERY = query_bytes(513, name_of("derp1a.relays.example.com"), A)


def theirs(algorithm="hmac-sha256"):
    name = dns.name.from_text("key.example")
    return {name: dns.tsig.Key(name, SECRET, algorithm)}


def code_of(packet, key, now, mac=b""):
    with pytest.raises(BadSignature) as refused:
        verify(read_tsig(packet, find_tsig(packet)), key, now, mac)
    return refused.value.code


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_dnspython_believes_our_signature_and_we_believe_its(algorithm):
    key = TsigKey(KEY.name, algorithm, SECRET)
    now = int(time.time())  # dnspython looks at the clock itself
    signed, mac = sign(QUERY, key, now)
    assert len(signed) == len(QUERY) + key.size
    read = dns.message.from_wire(signed, keyring=theirs(algorithm))
    assert read.had_tsig
    raw = dns.message.make_response(read).to_wire()
    verify(read_tsig(raw, find_tsig(raw)), key, now, mac)
    assert read_tsig(raw, find_tsig(raw)).bare[10:12] == b"\x00\x00"


def test_a_changed_byte_another_key_or_another_time_is_refused():
    signed, _ = sign(QUERY, KEY, 1000)
    found = read_tsig(signed, find_tsig(signed))
    verify(found, KEY, 1300)
    verify(found, KEY, 700)
    assert code_of(signed, KEY, 1301) == code_of(signed, KEY, 699) == BADTIME
    assert code_of(signed[:15] + b"X" + signed[16:], KEY, 1000) == BADSIG
    assert code_of(signed, TsigKey(KEY.name, "hmac-sha256", bytes(32)), 1000) == BADSIG
    assert code_of(signed, TsigKey(name_of("other"), "hmac-sha256", SECRET), 1000) == BADKEY
    assert code_of(signed, TsigKey(KEY.name, "hmac-sha512", SECRET), 1000) == BADKEY


def test_an_answer_is_bound_to_its_query():
    _, mac = sign(QUERY, KEY, 1000)
    answer, _ = sign(QUERY, KEY, 1000, mac)
    verify(read_tsig(answer, find_tsig(answer)), KEY, 1000, mac)
    assert code_of(answer, KEY, 1000, bytes(32)) == BADSIG


def test_a_shortened_mac_is_refused():
    signed, mac = sign(QUERY, KEY, 1000)
    at = find_tsig(signed)
    found = read_tsig(signed, at)
    for size in (0, 1, 16, 31):
        with pytest.raises(BadSignature):
            verify(
                type(found)(found.bare, found.key_name, found.algorithm, 1000, 300, mac[:size], 513, 0, b""), KEY, 1000
            )


def test_weak_keys_and_algorithms_are_refused_and_a_key_never_prints_its_secret():
    with pytest.raises(Malformed):
        TsigKey(KEY.name, "hmac-md5", SECRET)
    with pytest.raises(Malformed):
        TsigKey(KEY.name, "hmac-sha256", bytes(15))
    assert "secret" in repr(KEY)
    assert repr(SECRET)[2:-1] not in repr(KEY)


@given(st.binary(max_size=200))
def test_any_record_is_read_or_a_wire_error(data):
    packet = QUERY[:10] + b"\x00\x01" + QUERY[12:] + data
    with suppress(WireError):
        if at := find_tsig(packet):
            read_tsig(packet, at)
    with suppress(WireError):
        read_tsig(packet, len(QUERY))


@given(st.data())
def test_a_signature_cut_anywhere_is_a_wire_error_or_no_signature(data):
    signed, _ = sign(QUERY, KEY, 1000)
    cut = signed[: data.draw(st.integers(len(QUERY), len(signed) - 1))]
    with pytest.raises(WireError):
        find_tsig(cut)
