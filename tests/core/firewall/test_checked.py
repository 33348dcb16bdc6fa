from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.checked import Refused, by_family, checked_address, checked_name, is_public, literal, tidy

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("derp1a.example.com", "derp1a.example.com"),
        ("DERP1A.Example.COM.", "derp1a.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a-b.3com.net", "a-b.3com.net"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
    ],
)
def test_names_of_hosts_pass_in_lower_case_without_the_last_dot(text: str, name: str) -> None:
    assert checked_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "any", "all", "-oProxyCommand=x.example", "-rf.example.com", "a.-b.com", "a-.example.com", "a..com",
        ".a.com", "a.com..", "a.example.com\n", "a.example.com\nallow all", "a.example.com;reboot",
        "$(reboot).example.com", "'a'.com", '"a".example.com', "a b.com", "a_b.example.com", "bücher.example",
        "a.example.com\x00", "*.example.com", "a.com/24", "127.1", "1.2.3.4", "0x7f.0.0.1", "a.0x7f", "relay.1",
        "localhost", "relay.localhost", "localhost.localdomain", f"{'a' * 64}.example", ".".join(["a" * 60] * 5),
        "ＡＢＣ.example", "a.example.com\u2028", "\u212aelvin.example",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        checked_name(text)


@given(st.text(max_size=300) | st.from_regex(r"[a-zA-Z0-9.-]{1,80}"))
def test_what_passes_has_nothing_to_quote_to_end_a_line_or_to_start_an_option_with(text: str) -> None:
    try:
        name = checked_name(text)
    except Refused as error:
        assert "\n" not in str(error)
        return
    assert set(name) <= PLAIN
    assert name[0] not in "-."
    assert "." in name
    assert checked_name(name) == name
    assert literal(name) is None


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "192.0.2.1", "198.51.100.7", "203.0.113.9", "2607:f740:f::bc", "2001:db8::1", "3fff::1"]
)
def test_public_addresses_and_those_of_documentation_pass(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.1.1", "172.16.0.1", "192.168.1.1",
        "192.0.0.8", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1",
        "fd7a:115c:a1e0::1", "ff02::1", "64:ff9b::7f00:1", "::127.0.0.1", "2002:7f00:1::", "2001::1", "100::1",
    ],
)  # fmt: skip
def test_addresses_of_nobody_of_oneself_and_of_private_networks_do_not(text: str) -> None:
    with pytest.raises(Refused, match="is not a public address"):
        checked_address(ip_address(text))


def test_the_users_word_is_above_the_rule() -> None:
    lan = ip_address("10.1.2.3")
    assert checked_address(lan, allowed=(ip_network("10.1.0.0/16"),)) == lan
    with pytest.raises(Refused):
        checked_address(lan, allowed=(ip_network("10.2.0.0/16"), ip_network("fd00::/8")))


def test_an_address_of_this_machine_is_refused_unless_allowed() -> None:
    own = ip_address("192.0.2.1")
    with pytest.raises(Refused, match="this machine's own"):
        checked_address(own, own=frozenset({own}))
    assert checked_address(own, own=frozenset({own}), allowed=(ip_network("192.0.2.0/24"),)) == own


def test_ipv4_inside_ipv6_is_judged_as_what_it_is() -> None:
    assert literal("::ffff:127.0.0.1") == ip_address("127.0.0.1")
    assert literal("fe80::1%eth0") is None
    assert literal("none") is None


@given(st.text(max_size=60))
def test_words_for_comments_are_tame(text: str) -> None:
    word = tidy(text, "900")
    assert word.isascii()
    assert word[0] not in "-."
    assert all(c.isalnum() or c in ".-" for c in word)


def test_ipv4_comes_first() -> None:
    texts = ["2001:db8::1", "203.0.113.9", "192.0.2.200", "192.0.2.3"]
    assert [str(ip) for ip in sorted(map(ip_address, texts), key=by_family)] == [*reversed(texts[1:]), texts[0]]
