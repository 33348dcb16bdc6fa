"""Who may carry which tag."""

import pytest

from ginnel.core.control.policy import NO_POLICY, TagRefused, check_tags, parse_policy

POLICY = parse_policy(
    """{
  "groups": {"group:ops": ["alice@", "bob@example.com"]},
  "tagOwners": {
    "tag:web": ["group:ops"], "tag:db": ["carol@"], "tag:any": ["autogroup:member"],
    "tag:job": ["tag:web"], "tag:none": [],
  },
  "acls": [],
}"""
)


@pytest.mark.parametrize(
    ("user", "carried", "tags"),
    [
        ("alice", [], {"tag:web", "tag:any"}),
        ("bob@example.com", [], {"tag:web", "tag:any"}),
        ("carol", [], {"tag:db", "tag:any"}),
        ("stranger", [], {"tag:any"}),
        ("bob", [], {"tag:any"}),
        ("alice", ["tag:web"], {"tag:web", "tag:job"}),
        ("carol", ["tag:none"], {"tag:none"}),
    ],
)
def test_owners_may_have_their_tags_and_no_others(user, carried, tags):
    known = {"tag:web", "tag:db", "tag:any", "tag:job", "tag:none"}
    assert check_tags(POLICY, tags, user, carried) == tags
    for tag in known - tags:
        with pytest.raises(TagRefused, match=tag):
            check_tags(POLICY, [*tags, tag], user, carried)


@pytest.mark.parametrize("tag", ["tag:unknown", "web", "", "autogroup:member", "alice@", "TAG:WEB"])
def test_unknown_tags_are_refused(tag):
    for policy in (POLICY, NO_POLICY):
        with pytest.raises(TagRefused):
            check_tags(policy, [tag], "alice")


def test_no_tags_need_no_owner():
    assert check_tags(NO_POLICY, [], "alice") == frozenset()
