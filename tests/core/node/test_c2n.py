from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.c2n import answer_c2n


@given(st.binary(max_size=300))
def test_any_c2n_request_gets_an_http_answer(payload: bytes) -> None:
    assert answer_c2n(payload).startswith((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 400 Bad Request\r\n"))
