"""One query, one answer; dnspython writes the queries and reads the answers."""

import time
from ipaddress import ip_address

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.relaydns.answer import MAX_UDP_SIZE, answer
from ginnel.core.relaydns.zone import NameServer, ZoneSettings, zone_of
from tests.core.relaydns.relay_names import SETTINGS, ZONE, derp_map, node, region, relays, zone

SMALL = zone(relays(1, 3))


def ask(label, rtype="A", *, of=SMALL, tcp=False, **query):
    """dnspython checks id, question and form."""
    asked = dns.message.make_query(f"{label}.{ZONE}" if label else ZONE, rtype, **query)
    raw = answer(of, asked.to_wire(), tcp=tcp)
    answered = dns.message.from_wire(raw)
    assert asked.is_response(answered)
    return answered


def texts(answered):
    return sorted(str(record) for found in answered.answer for record in found)


def soa_in_authority(answered):
    [found] = answered.authority
    return found.rdtype == dns.rdatatype.SOA and str(found.name).lower() == ZONE + "." and found.ttl <= 60


def test_answers_are_authoritative_and_without_recursion():
    answered = ask("derp1-all")
    assert texts(answered) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert answered.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD
    assert answered.answer[0].ttl <= 300
    assert texts(ask("derp1b", "AAAA")) == ["2001:db8::2"]


def test_what_is_not_there_is_told_with_the_soa_record():
    absent = ask("derp2-all")
    assert (absent.rcode(), texts(absent)) == (dns.rcode.NXDOMAIN, [])
    assert soa_in_authority(absent)
    below = ask("x.derp1a")
    assert below.rcode() == dns.rcode.NXDOMAIN
    other_type = ask("derp1a", "TXT")
    assert (other_type.rcode(), texts(other_type)) == (dns.rcode.NOERROR, [])
    assert soa_in_authority(other_type)
    assert soa_in_authority(ask("", "A"))


def test_an_empty_name_between_is_no_data():
    deep = ZoneSettings(ZONE, (NameServer("a.b.relays.example.com", (ip_address("192.0.2.1"),)),))
    assert ask("b", of=zone(settings=deep)).rcode() == dns.rcode.NOERROR
    assert ask("c", of=zone(settings=deep)).rcode() == dns.rcode.NXDOMAIN


def test_addresses_that_are_not_known_now_are_a_failure_and_not_an_empty_answer():
    half = zone_of(derp_map(region(1, node("1a", "192.0.2.1", "none"), node("1b"))), SETTINGS).numbered(1)
    assert ask("derp1b", of=half).rcode() == dns.rcode.SERVFAIL
    assert texts(ask("derp1-all", of=half)) == ["192.0.2.1"]
    assert ask("derp1a", "AAAA", of=half).rcode() == dns.rcode.NOERROR


def test_the_question_comes_back_in_its_own_case():
    asked = dns.message.make_query("dErP1-aLL.ReLaYs.eXaMpLe.CoM", "A")
    raw = answer(SMALL, asked.to_wire(), tcp=False)
    assert b"\x09dErP1-aLL\x06ReLaYs\x07eXaMpLe\x03CoM\x00" in raw
    assert len(texts(dns.message.from_wire(raw))) == 3


@pytest.mark.parametrize("asked", ["example.com", "xrelays.example.com", "relays.example.com.evil.test", "."])
def test_other_zones_are_refused(asked):
    raw = answer(SMALL, dns.message.make_query(asked, "A").to_wire(), tcp=False)
    assert dns.message.from_wire(raw).rcode() == dns.rcode.REFUSED
    assert not raw[2] & 4  # AA


def test_a_label_that_only_looks_like_the_zone_is_refused():
    forged = header() + b"\x14x\x06relays\x07example\x03com\x00\x00\x01\x00\x01"
    assert rcode_of(answer(SMALL, forged, tcp=False)) == 5


def test_other_classes_are_refused():
    raw = answer(SMALL, dns.message.make_query("version.bind", "TXT", "CH").to_wire(), tcp=False)
    assert dns.message.from_wire(raw).rcode() == dns.rcode.REFUSED
    raw = answer(SMALL, dns.message.make_query(ZONE, "SOA", "CH").to_wire(), tcp=False)
    assert dns.message.from_wire(raw).rcode() == dns.rcode.REFUSED


def test_any_is_answered_by_one_small_record():
    assert texts(ask("derp1-all", "ANY", tcp=True)) == ['"RFC8482" ""']
    assert ask("nowhere", "ANY").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("rtype", "rcode"), [("AXFR", dns.rcode.REFUSED), ("IXFR", dns.rcode.REFUSED), (200, dns.rcode.NOTIMP)]
)
def test_transfers_and_other_meta_types_are_not_served_here(rtype, rcode):
    assert ask("", rtype, tcp=True).rcode() == rcode


def test_name_servers_come_with_their_addresses():
    answered = ask("", "NS")
    assert texts(answered) == ["ns1.relays.example.com.", "ns2.example.net."]
    assert sorted(str(r) for found in answered.additional for r in found) == ["198.51.100.53", "2001:db8::53"]


def test_glue_is_left_out_where_it_does_not_fit():
    glued = tuple(ip_address(f"2001:db8::{i:x}") for i in range(1, 30))
    many = ZoneSettings(ZONE, (NameServer("ns1.relays.example.com", glued),))
    raw = answer(zone(settings=many), dns.message.make_query(ZONE, "NS").to_wire(), tcp=False)
    assert len(raw) <= 512
    assert not dns.message.from_wire(raw).flags & dns.flags.TC


# --- EDNS and sizes -------------------------------------------------------------------------------------------


def test_edns_is_answered_by_edns_and_its_absence_by_none():
    with_it = ask("derp1a", use_edns=0, payload=4096, want_dnssec=True)
    assert (with_it.edns, with_it.payload, bool(with_it.ednsflags & dns.flags.DO)) == (0, MAX_UDP_SIZE, True)
    assert ask("derp1a", use_edns=False).edns == -1
    assert not ask("derp1a", use_edns=0).ednsflags & dns.flags.DO


def test_an_edns_version_from_the_future_is_badvers():
    asked = dns.message.make_query(f"derp1a.{ZONE}", "A", use_edns=1)
    answered = dns.message.from_wire(answer(SMALL, asked.to_wire(), tcp=False))
    assert (answered.rcode(), answered.edns, texts(answered)) == (dns.rcode.BADVERS, 0, [])


def test_unknown_edns_options_are_ignored():
    options = [dns.edns.GenericOption(65001, b"x" * 40), dns.edns.GenericOption(10, b"cookie!!")]
    assert texts(ask("derp1a", use_edns=0, options=options)) == ["192.0.2.1"]


def test_answers_that_do_not_fit_say_so_and_come_whole_by_tcp():
    found = zone(relays(1, 100))
    by_udp = ask("derp1-all", of=found, use_edns=0, payload=4096)
    assert by_udp.flags & dns.flags.TC
    assert texts(by_udp) == []
    assert len(texts(ask("derp1-all", of=found, tcp=True))) == 100
    thousand = zone(relays(1, 900))
    assert len(texts(ask("derp1-all", "AAAA", of=thousand, tcp=True))) == 900


@pytest.mark.parametrize(
    ("payload", "limit"), [(None, 512), (100, 512), (512, 512), (700, 700), (1232, 1232), (4096, 1232)]
)
@given(count=st.integers(1, 110))
def test_no_udp_answer_is_longer_than_asked_for_nor_truncated_before_it(payload, limit, count):
    found = zone(relays(1, count))
    query = {"use_edns": False} if payload is None else {"use_edns": 0, "payload": payload}
    asked = dns.message.make_query(f"derp1-all.{ZONE}", "A", **query).to_wire()
    raw = answer(found, asked, tcp=False)
    assert len(raw) <= limit
    whole = len(answer(found, asked, tcp=True))
    assert bool(raw[2] & 2) == (whole > limit)


def test_a_slipped_answer_is_no_longer_than_its_question():
    asked = dns.message.make_query(f"derp1-all.{ZONE}", "A", use_edns=0).to_wire()
    raw = answer(SMALL, asked, tcp=False, slip=True)
    assert dns.message.from_wire(raw).flags & dns.flags.TC
    assert len(raw) <= len(asked)


def test_the_order_of_addresses_turns_with_the_query_id():
    firsts = set()
    for ident in range(3):
        asked = dns.message.make_query(f"derp1-all.{ZONE}", "A", id=ident)
        answered = dns.message.from_wire(answer(SMALL, asked.to_wire(), tcp=False), one_rr_per_rrset=True)
        assert len(answered.answer) == 3
        firsts.add(str(answered.answer[0][0]))
    assert firsts == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}


# --- bad input ------------------------------------------------------------------------------------------------

GOOD = dns.message.make_query(f"derp1a.{ZONE}", "A", use_edns=0, id=258).to_wire()
FORMERR, NOTIMP = 1, 4


def rcode_of(raw):
    return None if raw is None else raw[3] & 15


def test_answers_and_what_has_no_header_are_not_answered():
    assert answer(SMALL, bytes([GOOD[0], GOOD[1], GOOD[2] | 0x80]) + GOOD[3:], tcp=False) is None
    assert answer(SMALL, answer(SMALL, GOOD, tcp=False), tcp=False) is None
    for size in range(12):
        assert answer(SMALL, GOOD[:size], tcp=False) is None


def test_whatever_is_cut_is_a_format_error_in_twelve_bytes():
    for size in range(12, len(GOOD)):
        raw = answer(SMALL, GOOD[:size], tcp=False)
        assert rcode_of(raw) == FORMERR
        assert len(raw) == 12
        assert raw[:2] == GOOD[:2]


@pytest.mark.parametrize("opcode", [o for o in range(16) if o])
def test_other_opcodes_are_not_implemented(opcode):
    raw = answer(SMALL, GOOD[:2] + bytes([opcode << 3]) + GOOD[3:], tcp=False)
    assert rcode_of(raw) == NOTIMP
    assert raw[2] >> 3 & 15 == opcode


def header(questions=1, answers=0, authority=0, additional=0):
    return b"\x01\x02\x00\x00" + b"".join(n.to_bytes(2, "big") for n in (questions, answers, authority, additional))


QUESTION = b"\x06derp1a\x06relays\x07example\x03com\x00\x00\x01\x00\x01"
TXT = b"\x00\x00\x10\x00\x01\x00\x00\x00\x00\x00\x00"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "packet",
    {
        "no question": header(0),
        "two questions": header(2) + QUESTION * 2,
        "thousands of questions": header(4000) + QUESTION * 4000,
        "65,535 questions claimed": header(65535) + QUESTION,
        "answers in a query": header(1, 1) + QUESTION + OPT,
        "an authority record": header(1, 0, 1) + QUESTION + OPT,
        "bytes behind the end": header() + QUESTION + b"x",
        "two OPT records": header(1, 0, 0, 2) + QUESTION + OPT * 2,
        "OPT with a name": header(1, 0, 0, 1) + QUESTION + b"\x01x" + OPT,
        "nine additional records": header(1, 0, 0, 9) + QUESTION + OPT + TXT * 8,
        "a pointer to itself": header() + b"\xc0\x0c\x00\x01\x00\x01",
        "a pointer forwards": header() + b"\xc0\x20\x00\x01\x00\x01" + bytes(40),
        "a pointer into the header": header() + b"\x01x\xc0\x00\x00\x01\x00\x01",
        "a label of 64": header() + b"\x40" + b"x" * 64 + b"\x00\x00\x01\x00\x01",
        "a name of 256 bytes": header() + (b"\x3f" + b"x" * 63) * 3 + b"\x3e" + b"x" * 62 + b"\x00\x00\x01\x00\x01",
        "a record's pointer to itself": header(1, 0, 0, 1) + QUESTION + b"\xc0\x2a" + OPT[1:],
        "a record longer than the packet": header(1, 0, 0, 1) + QUESTION + OPT[:-1] + b"\x01",
        "TSIG before OPT": header(1, 0, 0, 2) + QUESTION + b"\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x00" + OPT,
    }.items(),
    ids=lambda item: item[0],
)
def test_malformed_queries_are_format_errors(packet):
    raw = answer(SMALL, packet[1], tcp=True)
    assert rcode_of(raw) == FORMERR
    assert len(raw) == 12


def test_just_within_the_limits_is_answered():
    eight = header(1, 0, 0, 8) + QUESTION + OPT + TXT * 7
    assert rcode_of(answer(SMALL, eight, tcp=False)) == 0
    longest = header() + (b"\x3f" + b"x" * 63) * 3 + b"\x3d" + b"x" * 61 + b"\x00\x00\x01\x00\x01"
    assert rcode_of(answer(SMALL, longest, tcp=False)) == 5


@given(st.binary(max_size=1500), st.booleans())
def test_any_bytes_are_answered_or_not_and_never_an_exception(packet, tcp):
    raw = answer(SMALL, packet, tcp=tcp)
    assert raw is None or raw[:2] == packet[:2]


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6))
def test_a_query_with_some_bytes_changed_gives_an_answer_that_can_be_read(changes):
    packet = bytearray(GOOD)
    for at, value in changes:
        packet[at] = value
    raw = answer(SMALL, bytes(packet), tcp=False)
    if raw is not None and raw[3] & 15 != FORMERR and raw[2] & 0x78 == 0:
        dns.message.from_wire(raw, ignore_trailing=False)
        assert len(raw) <= MAX_UDP_SIZE


def test_the_longest_message_takes_no_longer_than_its_bytes():
    chain = b"".join(b"\xc0" + bytes([12 + 2 * i]) for i in range(100))
    worst = header(1, 0, 0, 8) + QUESTION + chain
    worst += bytes(65535 - len(worst))
    began = time.process_time()
    for _ in range(20):
        answer(SMALL, worst, tcp=True)
    assert time.process_time() - began < 1.0
