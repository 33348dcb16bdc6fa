"""Tokens by which relays join."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.invite import Invite, encode_invite
from ginnel.wire.read import WireError
from ginnel.wire.relay_token import PREFIX, RelayToken, encode_relay_token, parse_relay_token
from ginnel.words import MachineKey, WallTime

TOKEN = RelayToken(
    "https://192.0.2.1", MachineKey(bytes(range(32))), WallTime(1_900_000_000.0), "grelay-a-b", bytes(32)
)


def test_a_token_comes_back_as_it_went() -> None:
    assert parse_relay_token(f" {encode_relay_token(TOKEN)}\n") == TOKEN


def test_its_secret_is_in_no_repr() -> None:
    assert "grelay" not in repr(TOKEN)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_token_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(WireError):
        parse_relay_token(encode_relay_token(TOKEN)[:-cut])


def test_an_invite_of_a_machine_is_no_token_of_a_relay() -> None:
    with pytest.raises(WireError, match="ginnel-relay1"):
        parse_relay_token(encode_invite(Invite(TOKEN.url, TOKEN.server_key, "key")))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_token_or_a_wire_error(body: bytes) -> None:
    with suppress(WireError):
        parse_relay_token(PREFIX + base64.urlsafe_b64encode(body).rstrip(b"=").decode())
