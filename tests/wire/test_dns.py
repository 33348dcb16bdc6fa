"""DNS messages, against dnspython."""

from contextlib import suppress

import dns.exception
import dns.message
import dns.name
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.dns import (
    AXFR,
    IN,
    IXFR,
    MAX_JUMPS,
    NONE_CLASS,
    SOA,
    A,
    Record,
    name_of,
    notify_bytes,
    query_bytes,
    read_message,
    read_name,
    read_query,
    text_of,
    update_bytes,
)
from ginnel.wire.read import WireError

LABELS = st.text("abcXYZ019-_", min_size=1, max_size=63)


@given(st.lists(LABELS, max_size=6))
def test_names_are_written_as_dnspython_writes_them(labels):
    text = ".".join(labels) + "."
    try:
        expected = dns.name.from_text(text).to_wire()
    except dns.exception.DNSException:
        with pytest.raises(WireError):
            name_of(text)
        return
    assert name_of(text) == expected
    assert text_of(expected) == text


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5))
def test_names_of_any_bytes_have_a_text_that_dnspython_reads_back(labels):
    made = dns.name.Name([*labels, b""])
    assert dns.name.from_text(text_of(made.to_wire())) == made


@pytest.mark.parametrize("text", ["", "a..b", ".a", "a b", "x" * 64, "\u00fc", "a.\x00", ".".join(["x" * 63] * 4)])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(WireError):
        name_of(text)


def test_a_name_of_255_bytes_is_the_longest():
    longest = ".".join(["x" * 63] * 3 + ["x" * 61])
    assert len(name_of(longest)) == 255
    with pytest.raises(WireError):
        name_of(longest + "x")


def test_pointers_lead_back_and_only_so_often():
    chain = b"\x01a\x00" + b"".join(b"\xc0" + bytes([12 if i == 0 else 15 + 2 * (i - 1)]) for i in range(MAX_JUMPS + 1))
    packet = bytes(12) + chain
    assert read_name(packet, 15 + 2 * (MAX_JUMPS - 1)) == (b"\x01a\x00", 15 + 2 * MAX_JUMPS)
    with pytest.raises(WireError):
        read_name(packet, 15 + 2 * MAX_JUMPS)
    with pytest.raises(WireError):
        read_name(bytes(12) + b"\xc0\x0c", 12)


def test_queries_and_notifications_are_as_dnspython_reads_them():
    read = dns.message.from_wire(query_bytes(77, name_of("derp1a.example"), A))
    assert (read.id, str(read.question[0]), read.flags) == (77, "derp1a.example. IN A", 0)
    told = dns.message.from_wire(notify_bytes(78, name_of("example")))
    assert (told.opcode().name, str(told.question[0])) == ("NOTIFY", "example. IN SOA")


def test_updates_are_the_bytes_of_dnspython():
    theirs = dns.update.UpdateMessage("relays.example.com", id=9)
    theirs.add("derp1a", 60, "A", "192.0.2.1")
    theirs.delete("derp1b", "A", "192.0.2.2")
    ours = [
        Record(name_of("derp1a.relays.example.com"), A, IN, 60, bytes([192, 0, 2, 1])),
        Record(name_of("derp1b.relays.example.com"), A, NONE_CLASS, 0, bytes([192, 0, 2, 2])),
    ]
    made = dns.message.from_wire(update_bytes(9, name_of("relays.example.com"), ours))
    assert isinstance(made, dns.update.UpdateMessage)
    assert sorted(made.to_text().splitlines()) == sorted(dns.message.from_wire(theirs.to_wire()).to_text().splitlines())


def test_answers_of_dnspython_with_compressed_names_are_read():
    answered = dns.message.make_response(dns.message.make_query("derp1-all.example.com", "A", use_edns=0))
    answered.answer.append(dns.rrset.from_text("derp1-all.example.com.", 60, "IN", "A", "192.0.2.1", "192.0.2.2"))
    read = read_message(answered.to_wire())
    assert sorted((text_of(r.name), r.ttl, r.data[3]) for r in read.answers) == [
        ("derp1-all.example.com.", 60, i) for i in (1, 2)
    ]


def test_a_secondarys_soa_record_is_allowed_with_ixfr_alone():
    def with_soa(rtype):
        asked = dns.message.make_query("example", rtype)
        asked.authority.append(dns.rrset.from_text("example.", 60, "IN", "SOA", "a. b. 1 2 3 4 5"))
        return asked.to_wire()

    assert read_query(with_soa("IXFR")).type == IXFR
    for rtype in ("AXFR", "SOA"):
        with pytest.raises(WireError):
            read_query(with_soa(rtype))
    assert (AXFR, SOA) == (252, 6)


@given(st.binary(max_size=600))
def test_any_bytes_are_a_message_or_a_wire_error(packet):
    for read in (read_query, read_message):
        with suppress(WireError):
            read(packet)


@given(st.data())
def test_a_message_cut_short_anywhere_is_a_wire_error(data):
    answered = dns.message.make_response(dns.message.make_query("derp1-all.example.com", "A"))
    answered.answer.append(dns.rrset.from_text("derp1-all.example.com.", 60, "IN", "A", "192.0.2.1", "192.0.2.2"))
    raw = answered.to_wire()
    with pytest.raises(WireError):
        read_message(raw[: data.draw(st.integers(0, len(raw) - 1))])
