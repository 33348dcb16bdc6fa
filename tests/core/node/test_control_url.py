import pytest

from ginnel.core.node.control_url import Leg, is_private, legs


@pytest.mark.parametrize(
    ("url", "tried"),
    [
        ("https://h.example", [Leg("h.example", 443, tls=True)]),
        ("https://h.example:8443", [Leg("h.example", 8443, tls=True)]),
        ("http://h.example", [Leg("h.example", 80, tls=False), Leg("h.example", 443, tls=True)]),
        ("http://h.example:8080", [Leg("h.example", 8080, tls=False), Leg("h.example", 443, tls=True)]),
        ("http://192.0.2.1:8080", [Leg("192.0.2.1", 8080, tls=False), Leg("192.0.2.1", 443, tls=True)]),
        ("http://10.1.2.3", [Leg("10.1.2.3", 80, tls=False)]),
        ("http://127.0.0.1:8080", [Leg("127.0.0.1", 8080, tls=False)]),
        ("http://[fd00::1]:8080", [Leg("fd00::1", 8080, tls=False)]),
        ("http://localhost:1", [Leg("localhost", 1, tls=False)]),
    ],
)
def test_which_sockets_are_tried_in_which_order(url: str, tried: list[Leg]) -> None:
    assert list(legs(url)) == tried


@pytest.mark.parametrize("url", ["ftp://h", "h.example", "https://", "https://[::1", "https://h:99999"])
def test_what_is_no_server_url(url: str) -> None:
    with pytest.raises(ValueError):
        legs(url)


@pytest.mark.parametrize(("host", "private"), [("100.64.0.1", False), ("172.31.0.1", True), ("printer.lan", False)])
def test_only_literals_are_private(host: str, private: bool) -> None:
    assert is_private(host) is private
