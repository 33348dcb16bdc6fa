import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import xml
from ginnel.wire.read import Malformed, WireError
from ginnel.wire.xml import MAX_DEPTH, MAX_ELEMENTS, MAX_SIZE, MAX_TEXT, Element, parse

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">'
    + b"".join(b'<!ENTITY %c "%b">' % (letter, b"&%c;" % (letter - 1) * 10) for letter in b"bcdefghi")
    + b"]><root>&i;</root>"
)


def test_elements_lose_their_prefix_and_text_its_margins() -> None:
    root = parse(b'<s:a xmlns:s="urn:x"><b> one </b><b>two</b><c><b>three</b></c></s:a>')
    assert root.name == "a"
    assert root.text_of("b") == "one"
    assert root.child("d") is None
    assert [element.text for element in root.every("b")] == ["one", "two", "three"]


def test_the_five_entities_of_xml_itself_are_read() -> None:
    assert parse(b"<a>1 &lt; 2 &amp;&#32;3</a>").text == "1 < 2 & 3"


def test_a_byte_order_mark_and_bytes_that_are_no_utf_8_do_no_harm() -> None:
    assert parse(b"\xef\xbb\xbf<a>\xff</a>").text == "\N{REPLACEMENT CHARACTER}"
    assert parse(b'<?xml version="1.0" encoding="no-such-thing"?><a/>') == Element("a")


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        b'<!DOCTYPE a SYSTEM "http://192.0.2.66/x.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b"<!DOCTYPE a><a/>",
        b"<a>&x;</a>",
    ],
)
def test_no_document_type_no_entity_no_bomb(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(Malformed):
        parse(body)
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
        b"<r>" + b"<a/>" * MAX_ELEMENTS + b"</r>",
        b"<a>" + b"x" * (MAX_TEXT + 1) + b"</a>",
        b"<a>" + b" " * MAX_SIZE + b"</a>",
    ],
    ids=["deep", "many", "long", "big"],
)
def test_size_depth_number_and_length_are_bounded(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(body)


@pytest.mark.parametrize("body", [b"", b"<a>", b"<a/><b/>", b"plain", b"\0"])
def test_what_is_no_xml_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(body)


@given(st.binary(max_size=200), st.sampled_from([b"%b", b"<a>%b</a>", b"<a %b/>", b"<?xml %b?><a/>"]))
def test_any_bytes_are_elements_or_a_wire_error(middle: bytes, around: bytes) -> None:
    with suppress(WireError):
        assert isinstance(xml.parse(around.replace(b"%b", middle)), Element)
