"""Who may have which answer: signatures, transfers, limits. dnspython is the secondary."""

import time
from ipaddress import ip_address, ip_network

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.xfr
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.relaydns.responder import Responder, TransferPolicy
from ginnel.wire.dns import name_of
from ginnel.wire.tsig import TsigKey
from tests.core.relaydns.relay_names import ZONE, relays, zone

SECRET = bytes(range(32))
KEY = TsigKey(name_of("xfr.example"), "hmac-sha256", SECRET)
POLICY = TransferPolicy((ip_network("192.0.2.0/28"), ip_network("2001:db8::/64")), (KEY,))
ALLOWED, STRANGER = ip_address("192.0.2.9").packed, ip_address("198.51.100.1").packed


def ring(secret=SECRET, name="xfr.example"):
    key = dns.name.from_text(name)
    return {key: dns.tsig.Key(key, secret, "hmac-sha256")}


def signed(rtype, keyring=None, serial=None, label=""):
    asked = dns.message.make_query(f"{label}.{ZONE}" if label else ZONE, rtype)
    if serial is not None:
        asked.authority.append(dns.rrset.from_text(ZONE + ".", 60, "IN", "SOA", f"a. b. {serial} 2 3 4 5"))
    asked.use_tsig(keyring or ring())
    return asked, asked.to_wire()


def ask(responder, raw, source=ALLOWED, *, tcp=True, wall=None):
    return list(responder.receive(raw, source, 0.0, time.time() if wall is None else wall, tcp=tcp))


def read(answer, asked):
    return dns.message.from_wire(answer, keyring=asked.keyring, request_mac=asked.mac)


def transferred(found, count):
    """What a secondary makes of the messages: all of dnspython's checks, signatures included."""
    asked, raw = signed("AXFR")
    answers = ask(Responder(found, transfers=POLICY), raw)
    held, context = dns.zone.Zone(ZONE), None
    with dns.xfr.Inbound(held, dns.rdatatype.AXFR) as inbound:
        for index, answer in enumerate(answers):
            message = dns.message.from_wire(
                answer, keyring=asked.keyring, request_mac=asked.mac, xfr=True, origin=held.origin,
                tsig_ctx=context, multi=True, one_rr_per_rrset=False,
            )  # fmt: skip
            context = message.tsig_ctx
            assert message.had_tsig
            done = inbound.process_message(message)
            assert done == (index == len(answers) - 1)
    assert len(held.find_rdataset(f"derp1-all.{ZONE}.", "A")) == count
    return answers


def test_a_secondary_with_the_key_at_an_allowed_address_gets_the_whole_zone():
    assert len(transferred(zone(relays(1, 3)), 3)) == 1


def test_a_large_zone_goes_in_several_signed_messages():
    answers = transferred(zone(relays(1, 700)), 700)
    assert len(answers) > 3
    assert max(map(len, answers)) < 20_000


@pytest.mark.parametrize("source", [STRANGER, ip_address("192.0.2.16").packed, ip_address("2001:db8:0:1::1").packed])
def test_the_key_alone_is_not_enough(source):
    asked, raw = signed("AXFR")
    [answer] = ask(Responder(zone(relays(1, 3)), transfers=POLICY), raw, source)
    assert read(answer, asked).rcode() == dns.rcode.REFUSED


def test_the_address_alone_is_not_enough():
    responder = Responder(zone(relays(1, 3)), transfers=POLICY)
    [answer] = ask(responder, dns.message.make_query(ZONE, "AXFR").to_wire())
    assert dns.message.from_wire(answer).rcode() == dns.rcode.REFUSED


def test_transfers_are_off_without_a_policy():
    responder = Responder(zone(relays(1, 3)))
    _, raw = signed("AXFR")
    [answer] = ask(responder, raw)
    assert answer[3] & 15 == dns.rcode.NOTAUTH
    assert len(answer) < len(raw)


def test_axfr_by_udp_is_refused_and_ixfr_by_udp_tells_the_serial():
    responder = Responder(zone(relays(1, 3), serial=77), transfers=POLICY)
    asked, raw = signed("AXFR")
    assert read(ask(responder, raw, tcp=False)[0], asked).rcode() == dns.rcode.REFUSED
    asked, raw = signed("IXFR", serial=5)
    [answer] = ask(responder, raw, tcp=False)
    assert [record.serial for found in read(answer, asked).answer for record in found] == [77]


@pytest.mark.parametrize(("serial", "whole"), [(77, False), (76, True)])
def test_ixfr_gives_the_whole_zone_unless_the_serial_is_current(serial, whole):
    asked, raw = signed("IXFR", serial=serial)
    [answer] = ask(Responder(zone(relays(1, 3), serial=77), transfers=POLICY), raw)
    assert (len(read(answer, asked).answer) > 1) == whole


def test_a_mapped_address_counts_as_its_ipv4_address():
    _, raw = signed("AXFR")
    [answer] = ask(Responder(zone(relays(1, 3)), transfers=POLICY), raw, ip_address("::ffff:192.0.2.9").packed)
    assert answer[3] & 15 == 0


def test_signed_queries_get_signed_answers_and_leave_room_for_the_signature():
    responder = Responder(zone(relays(1, 60)), transfers=POLICY)
    asked, raw = signed("SOA")
    assert read(ask(responder, raw, STRANGER, tcp=False)[0], asked).had_tsig
    for count in range(20, 40):
        responder.zone = zone(relays(1, count))
        asked, raw = signed("A", label="derp1-all")
        [answer] = ask(responder, raw, STRANGER, tcp=False)
        assert len(answer) <= 512
        read(answer, asked)


def test_a_wrong_key_a_wrong_signature_and_a_wrong_clock_are_told_apart():
    responder = Responder(zone(relays(1, 3)), transfers=POLICY)

    def error(keyring=None, wall=None):
        _, raw = signed("SOA", keyring)
        [answer] = ask(responder, raw, wall=wall)
        found = dns.message.from_wire(answer, keyring=False)
        assert found.rcode() == dns.rcode.NOTAUTH
        return found.tsig[0].error

    assert error(ring(name="other.example")) == dns.rcode.BADKEY
    assert error(ring(secret=bytes(32))) == dns.rcode.BADSIG
    assert error(wall=time.time() + 1000) == dns.rcode.BADTIME
    assert responder.counters["bad signature"] == 3


def test_every_udp_answer_is_limited_and_tcp_is_not():
    responder = Responder(zone(relays(1, 3)), rate=1)
    raw = dns.message.make_query(f"derp1a.{ZONE}", "A").to_wire()
    by_udp = [ask(responder, raw, STRANGER, tcp=False) for _ in range(104)]
    whole = sum(bool(answers) and not answers[0][2] & 2 for answers in by_udp)
    cut = sum(bool(answers) and bool(answers[0][2] & 2) for answers in by_udp)
    assert (whole, cut, by_udp.count([])) == (4, 50, 50)
    assert all(ask(responder, raw, STRANGER) for _ in range(100))
    assert responder.counters == {"answered": 104, "slipped": 50, "limited": 50}


def test_a_flood_with_a_forged_source_gives_its_victim_less_than_was_sent():
    responder = Responder(zone(relays(1, 40)))
    raw = dns.message.make_query(f"derp1-all.{ZONE}", "A", use_edns=0, payload=4096).to_wire()
    sent = received = 0
    for step in range(20_000):
        sent += len(raw)
        received += sum(map(len, responder.receive(raw, STRANGER, step / 2000, 0.0, tcp=False)))
    assert received < sent


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_behind_a_question_are_answered_or_not_and_never_an_exception(data, tcp):
    asked = dns.message.make_query(ZONE, "AXFR").to_wire()
    tsig = name_of("xfr.example") + b"\x00\xfa\x00\xff\x00\x00\x00\x00" + len(data).to_bytes(2, "big") + data
    responder = Responder(zone(relays(1, 3)), transfers=POLICY)
    for packet in (data, asked[:10] + b"\x00\x01" + asked[12:] + tsig):
        for answer in responder.receive(packet, ALLOWED, 0.0, 1e9, tcp=tcp):
            assert answer[2] & 0x80
            assert answer[3] & 15 != 0 or packet is data
