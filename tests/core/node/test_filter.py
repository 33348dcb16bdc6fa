from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.filter import DEFAULT_PROTOCOLS, EVERYTHING, filter_rows, networks
from ginnel.wire.tailcfg import CapGrant, FilterRule, NetPortRange, PortRange

TO = NetPortRange("100.64.0.1", PortRange(22, 22))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", EVERYTHING),
        ("100.64.0.1", ("100.64.0.1/32",)),
        ("fd7a:115c:a1e0::1", ("fd7a:115c:a1e0::1/128",)),
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("10.0.0.1/8", ()),
        ("10.0.0.1-10.0.0.9", ("10.0.0.1-10.0.0.9",)),
        ("10.0.0.9-10.0.0.1", ()),
        ("10.0.0.1-fd00::1", ()),
        ("cap:example.com/x", ()),
        ("", ()),
        ("10.0.0.0/33", ()),
        ("fe80::1%eth0-fe80::2", ()),
    ],
)
def test_each_form_of_a_source(text: str, expected: tuple[str, ...]) -> None:
    assert networks(text) == expected


def test_a_rule_becomes_a_row() -> None:
    assert filter_rows([FilterRule(src_ips=["100.64.0.2"], dst_ports=[TO], ip_proto=[6, 6, 300])]) == (
        (("100.64.0.2/32",), (("100.64.0.1/32", 22, 22),), (6,)),
    )


def test_no_protocol_means_the_usual_four_and_bad_ones_mean_none() -> None:
    assert filter_rows([FilterRule(src_ips=["*"], dst_ports=[TO])])[0][2] == DEFAULT_PROTOCOLS
    assert filter_rows([FilterRule(src_ips=["*"], dst_ports=[TO], ip_proto=[-1, 256])]) == ()


@pytest.mark.parametrize(
    "rule",
    [
        FilterRule(src_ips=[], dst_ports=[TO]),
        FilterRule(src_ips=["cap:x"], dst_ports=[TO]),
        FilterRule(src_ips=["*"]),
        FilterRule(src_ips=["*"], dst_ports=[NetPortRange("nonsense")]),
        FilterRule(src_ips=["*"], dst_ports=[NetPortRange("*", PortRange(9, 8))]),
        FilterRule(src_ips=["*"], dst_ports=[NetPortRange("*", PortRange(0, 65536))]),
        FilterRule(src_ips=["*"], cap_grant=[CapGrant(dsts=["100.64.0.1/32"])]),
    ],
)
def test_a_rule_without_a_readable_part_lets_nothing_in(rule: FilterRule) -> None:
    assert filter_rows([rule]) == ()


@given(st.text(max_size=30))
def test_any_text_is_a_source_or_none(text: str) -> None:
    assert text == "*" or set(networks(text)).isdisjoint(EVERYTHING) or text in EVERYTHING
