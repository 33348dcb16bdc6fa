from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.doctor import ANSWER_LIMIT, STEPS, WAYS, RelayTold, Step, Testimony, WayTold, parse_testimony
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import encode

WHOLE = Testimony(
    program="0.1-ginnel",
    name="bob",
    udp=True,
    varies=False,
    seen_v4="192.0.2.6:41641",
    port=41641,
    relays=(RelayTold(900, connected=True, latency=0.02),),
    lets_in=True,
    ways=(WayTold("198.51.100.6:41641", asked=3, heard=2, shunned="carries no data"),),
    story=(Step("asked", "198.51.100.6:41641", 5.0, 1.0, 3),),
)


def test_what_is_written_is_read_again():
    assert parse_testimony(encode(WHOLE)) == WHOLE


def test_a_testimony_of_a_later_version_with_more_members_is_read():
    members = msgspec.json.decode(encode(WHOLE)) | {"Weather": {"Rain": True}}
    assert parse_testimony(msgspec.json.encode(members)) == WHOLE


@given(st.binary(max_size=300))
def test_any_bytes_are_a_testimony_or_a_wire_error(body):
    with suppress(WireError):
        parse_testimony(body)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5))
def test_members_of_any_type_are_a_testimony_or_a_wire_error(value):
    for member in ("Ways", "Story", "Port", "UDP", "Relays", "Firewall"):
        with suppress(WireError, msgspec.MsgspecError):
            parse_testimony(msgspec.json.encode({member: value}))


@pytest.mark.parametrize(
    "members",
    [
        {"Port": 65536},
        {"Name": "x" * 301},
        {"Ways": [{"Endpoint": "192.0.2.1:1"}] * (WAYS + 1)},
        {"Story": [{"What": "asked"}] * (STEPS + 1)},
        {"Hops": [""] * 9},
    ],
)
def test_what_is_too_much_is_refused(members):
    with pytest.raises(WireError):
        parse_testimony(msgspec.json.encode(members))


def test_an_answer_longer_than_the_limit_is_not_even_read():
    with pytest.raises(WireError, match="at most"):
        parse_testimony(b" " * ANSWER_LIMIT + b"{}")
