"""The feed of the own mesh: what the daemon says of it, and what counts while the daemon is away."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.sync_list import ROLES
from ginnel.shell.firewall.facts import FactsError
from ginnel.shell.firewall.member_feed import MemberFeed, OwnFeed, own_feed
from ginnel.shell.firewall.sync_source import SourceError
from tests.shell.firewall.test_sync_source import KEY, OTHER, feed, served

PIN, NEWER = "aa" * 32, "bb" * 32
PREFS = {"ControlURL": "https://mesh.example.com/"}
TOLD = {"Self": {"CapMap": {"ginnel/feed-key": [str(KEY.public())]}}}


def known(
    prefs: dict[str, Any] | None = None, status: Any = TOLD, derp_map: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"prefs": PREFS if prefs is None else prefs, "status?peers=false": status, "derpmap": derp_map or {}}


def relay(cert: str) -> dict[str, Any]:
    node = {"Name": "1a", "RegionID": 1, "HostName": "mesh.example.com", "CertName": cert}
    return {"Regions": {"1": {"RegionID": 1, "RegionCode": "r", "RegionName": "R", "Nodes": [node]}}}


def test_url_and_key_are_the_daemons() -> None:
    assert own_feed(known()) == OwnFeed("https://mesh.example.com/allowlist", KEY.public(), "")


def test_a_certificate_of_the_servers_own_is_pinned_as_the_map_says_before_the_invite() -> None:
    invited = {**PREFS, "ServerPin": PIN}
    assert own_feed(known(invited)).pin == "sha256-raw:" + PIN
    assert own_feed(known(invited, derp_map=relay("sha256-raw:" + NEWER))).pin == "sha256-raw:" + NEWER


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (known({}), "feed-key"),
        (known(status={"Self": {"CapMap": None}}), "feed-key"),
        (known(status={"Self": None}), "feed-key"),
        (known(status={"Self": {"CapMap": {"ginnel/feed-key": ["feedkey:00"]}}}), "not understood"),
        (known(status={"Self": 7}), "not understood"),
        (known(status=[]), "not understood"),
        (known({"ControlURL": 7}), "not understood"),
    ],
)
def test_what_the_daemon_does_not_know_is_one_line(answers: dict[str, Any], says: str) -> None:
    with pytest.raises(FactsError, match=says):
        own_feed(answers)


@dataclass
class Daemon:
    url: str
    key: Any = field(default_factory=KEY.public)
    away: bool = False

    def __call__(self) -> OwnFeed:
        if self.away:
            raise FactsError("ginneld is not running here")
        return OwnFeed(self.url, self.key, "")


async def test_the_feed_is_followed_and_the_daemon_may_go_away_meanwhile() -> None:
    async with served() as (server, of):
        daemon = Daemon(of.place, away=True)
        source = MemberFeed("", daemon, ROLES, Trust)
        with pytest.raises(SourceError, match="ginneld"):
            await source.listing(0)
        daemon.away = False
        assert (await source.listing(0)).serial == 1
        daemon.away = True
        server.body = feed(2)
        assert (await source.listing(1)).serial == 2


async def test_a_feed_of_another_key_is_refused_until_the_daemon_is_told_that_key() -> None:
    async with served() as (server, of):
        daemon = Daemon("https://nowhere.example.com/allowlist")
        source = MemberFeed(of.place, daemon, ROLES, Trust)
        server.body = feed(2, key=OTHER)
        with pytest.raises(SourceError, match="sign"):
            await source.listing(0)
        daemon.key = OTHER.public()
        assert (await source.listing(0)).serial == 2
