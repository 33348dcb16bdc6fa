import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.c2n import answer_c2n, asker_of, body_of, pair_answer, pair_question
from ginnel.wire.read import WireError
from ginnel.words import NodeKey


@given(st.binary(max_size=300))
def test_any_c2n_request_gets_an_http_answer(payload: bytes) -> None:
    assert answer_c2n(payload).startswith((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 400 Bad Request\r\n"))


def test_a_peers_question_by_way_of_the_server_names_who_asks():
    asker = NodeKey(bytes(range(32)))
    assert asker_of(pair_question(asker)) == asker


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"GET /echo HTTP/1.1\r\n\r\n",
        b"POST /ginnel/doctor?peer=nodekey:00 HTTP/1.1\r\n\r\n",
        b"GET /ginnel/doctor?peer=nodekey:00 HTTP/1.1\r\n\r\n",
        b"GET /ginnel/doctor?peer=\xff HTTP/1.1\r\n\r\n",
    ],
)
def test_other_requests_are_no_peers_question(payload):
    assert asker_of(payload) is None


def test_the_answer_is_taken_out_of_the_response_and_a_refusal_is_an_error():
    assert body_of(pair_answer(b'{"Name":"bob"}')) == b'{"Name":"bob"}'
    with pytest.raises(WireError):
        body_of(pair_answer(None))
    with pytest.raises(WireError):
        body_of(b"HTTP/1.1 200 OK")
