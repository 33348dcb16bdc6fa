"""What a map request leaves as it was."""

from ginnel.core.control.progress import status_after
from ginnel.core.control.records import Status
from ginnel.wire.tailcfg import MapRequest
from ginnel.words import NodeId
from tests.core.control.control_world import disco

WITH_HOME = {"Hostname": "a", "NetInfo": {"PreferredDERP": 7}}
OLD = status_after(
    Status(NodeId(1)),
    MapRequest(version=130, disco_key=disco("1"), hostinfo=WITH_HOME, endpoints=["192.0.2.1:1"]),
)


def test_a_host_info_without_net_info_keeps_the_home_region() -> None:
    new = status_after(OLD, MapRequest(version=130, hostinfo={"Hostname": "b", "NetInfo": None}))
    assert (new.home, new.hostinfo) == (7, {"Hostname": "b"})


def test_members_that_are_left_out_stay() -> None:
    assert status_after(OLD, MapRequest(version=130)) is OLD


def test_an_empty_list_of_endpoints_clears_them_and_a_missing_one_does_not() -> None:
    assert status_after(OLD, MapRequest(version=130, endpoints=[])).endpoints == ()


def test_a_wish_for_tags_is_not_kept() -> None:
    new = status_after(OLD, MapRequest(version=130, hostinfo={"Hostname": "a", "RequestTags": ["tag:a"]}))
    assert "RequestTags" not in new.hostinfo
