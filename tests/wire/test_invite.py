"""Invites: text that carries URL, server key, pre-auth key and pin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.invite import PREFIX, Invite, encode_invite, parse_invite
from ginnel.wire.read import WireError
from ginnel.words import MachineKey

keys = st.binary(min_size=32, max_size=32).filter(any).map(MachineKey)
printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)
urls = st.tuples(st.sampled_from(["http://", "https://"]), printable.filter(lambda t: not t.endswith("/"))).map("".join)
invites = st.builds(Invite, urls, keys, printable, st.none() | st.binary(min_size=32, max_size=32))


@given(invites)
def test_what_was_encoded_is_read_back(invite: Invite) -> None:
    assert parse_invite(f"  {encode_invite(invite)}\n") == invite


@given(invites, st.data())
def test_a_cut_invite_is_refused(invite: Invite, data: st.DataObject) -> None:
    text = encode_invite(invite)
    with pytest.raises(WireError):
        parse_invite(text[: data.draw(st.integers(0, len(text) - 1))])


@given(st.text(max_size=300), st.booleans())
def test_any_text_is_an_invite_or_a_wire_error(text: str, prefixed: bool) -> None:
    try:
        parse_invite(PREFIX + text if prefixed else text)
    except WireError as refused:
        assert "\n" not in str(refused)


@given(st.binary(max_size=200))
def test_any_body_is_an_invite_or_a_wire_error(body: bytes) -> None:
    import base64

    try:
        parse_invite(PREFIX + base64.urlsafe_b64encode(body).decode().rstrip("="))
    except WireError as refused:
        assert "\n" not in str(refused)


def test_the_pre_auth_key_is_in_no_repr() -> None:
    assert "hunter2" not in repr(Invite("https://vpn.example.com", MachineKey(bytes([1]) * 32), "hunter2"))
