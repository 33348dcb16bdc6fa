"""Host names become DNS labels, one for each node."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.control.names import NameRefused, Names, sanitize


@pytest.mark.parametrize(
    ("hostname", "label"),
    [
        ("web", "web"),
        ("Alice's MacBook Pro", "alices-macbook-pro"),
        ("laptop.local", "laptop"),
        ("laptop.localdomain", "laptop"),
        ("LAPTOP.LAN", "laptop"),
        ("db.example.com", "db-example-com"),
        ("a_b@c d", "a-b-c-d"),
        ("--edge--", "edge"),
        ("", "node"),
        (".local", "node"),
        ("\u540d\u524d", "node"),
        ("caf\u00e9", "caf"),
        ("\u212aelvin", "elvin"),
        ("x" * 80, "x" * 63),
        ("x" * 62 + "-y", "x" * 62),
        ("<script>", "script"),
    ],
)
def test_host_names_become_labels(hostname, label):
    assert sanitize(hostname) == label


@given(st.text())
def test_any_host_name_becomes_a_label(hostname):
    label = sanitize(hostname)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label)
    assert sanitize(label) == label


def test_the_second_of_a_name_is_numbered_and_keeps_its_number():
    names = Names()
    assert [names.give(i, "Web.local") for i in (1, 2, 3)] == ["web", "web-1", "web-2"]
    assert names.give(2, "web") == "web-1"
    names.release(1)
    assert names.give(2, "web") == "web-1"
    assert names.give(4, "web") == "web"
    names.release(2)
    assert names.give(5, "web") == "web-1"


def test_a_real_host_name_that_looks_numbered_is_not_taken():
    names = Names()
    assert [names.give(1, "web-1"), names.give(2, "web"), names.give(3, "web")] == ["web-1", "web", "web-2"]


def test_a_changed_host_name_frees_the_old_label():
    names = Names()
    names.give(1, "old")
    assert names.give(1, "new") == "new"
    assert names.give(2, "old") == "old"


def test_what_an_admin_chose_stays():
    names = Names()
    names.give(1, "web")
    assert names.choose(1, "Front") == "front"
    assert names.give(1, "renamed") == "front"
    assert names.unchoose(1, "renamed") == "renamed"
    assert names.give(2, "front") == "front"


@pytest.mark.parametrize("label", ["", "-a", "a-", "a.b", "a b", "\u00e9", "x" * 64, "a\n"])
def test_an_admin_may_not_choose_what_is_no_label(label):
    names = Names()
    names.give(1, "web")
    with pytest.raises(NameRefused, match="no DNS label"):
        names.choose(1, label)
    assert names.give(1, "web") == "web"


def test_an_admin_may_not_choose_another_nodes_name():
    names = Names([(1, "web", False), (2, "db", False)])
    with pytest.raises(NameRefused, match="'web' is the name of node 1: rename that one first"):
        names.choose(2, "web")
    assert names.give(2, "db") == "db"


def test_stored_names_come_back_and_a_spoiled_one_costs_only_its_owner():
    names = Names([(1, "web", True), (2, "web", False), (3, "Bad name", False), (4, "db-7", False)])
    assert names.give(1, "anything") == "web"
    assert names.give(2, "web") == "web-1"
    assert names.give(3, "bad") == "bad"
    assert names.give(4, "db") == "db-7"


steps = st.lists(
    st.tuples(
        st.sampled_from(["give", "give", "choose", "unchoose", "release"]),
        st.integers(1, 5),
        st.sampled_from(["a", "a-1", "a-2", "b", "", "x" * 63, "x" * 61 + "-1"]),
    ),
    max_size=40,
)


@given(steps)
def test_no_two_nodes_have_one_label(history):
    names, labels, chosen = Names(), {}, {}
    for what, node, text in history:
        if what == "release":
            names.release(node)
            labels.pop(node, None)
            chosen.pop(node, None)
        elif what == "choose":
            try:
                labels[node] = chosen[node] = names.choose(node, text)
            except NameRefused:
                assert not text or any(label == text for other, label in labels.items() if other != node)
        else:
            if what == "unchoose":
                chosen.pop(node, None)
            labels[node] = getattr(names, what)(node, text)
            assert labels[node] == chosen.get(node, labels[node])
            assert len(labels[node]) <= 63
        assert len(set(labels.values())) == len(labels)


def test_ten_thousand_nodes_of_one_name_are_numbered_in_a_moment():
    began, names = time.process_time(), Names()
    assert len({names.give(i, "localhost") for i in range(10_000)}) == 10_000
    for i in range(5_000, 6_000):
        names.release(i)
        assert names.give(i, "localhost") == f"localhost-{i}"
    assert time.process_time() - began < 2.0
