from datetime import UTC, datetime

import pytest

from ginnel.core.node.control_actions import CloseMap, KeyExpired, Merge, OpenMap, Probe, Reply, Report, SendLite
from ginnel.core.node.control_session import WATCHDOG, ControlSession, NoStream, Reopening, Streaming
from ginnel.core.node.login import CAPABILITY_VERSION, KeepKey, Login, SendRegister
from ginnel.wire.tailcfg import MapResponse, Node, PingRequest, RegisterResponse
from ginnel.words import DiscoKey, Instant, NodeKey, NodePrivate, WallTime

NOW = Instant(100.0)
WALL = WallTime(1_700_000_000.0)
KEY = NodePrivate(b"\x40" * 32)
YES = RegisterResponse(machine_authorized=True)


def session(stored: NodePrivate | None = KEY, *, plain: bool = False) -> ControlSession:
    login = Login(stored, hostinfo={"Hostname": "a"}, draw=lambda: b"\x01" * 32, jitter=lambda: 1.0, plain=plain)
    return ControlSession(login, disco=DiscoKey(b"\x02" * 32), jitter=lambda: 1.0, plain=plain)


def running(*, plain: bool = False) -> ControlSession:
    one = session(plain=plain)
    one.start()
    one.registered(YES, NOW)
    one.lite_done()
    return one


def kinds(actions) -> list[type]:
    return [type(action) for action in actions]


def node(expiry: datetime | None = None) -> Node:
    return Node(1, "n1", "a.example.", 1, NodeKey(b"\x03" * 32), ["100.64.0.1/32"], key_expiry=expiry)


def frame(**members) -> MapResponse:
    return MapResponse(node=node(), **members)


def test_a_login_opens_the_map_and_reports_at_once() -> None:
    one = session()
    assert kinds(one.start()) == [SendRegister]
    actions = one.registered(YES, NOW)
    assert kinds(actions) == [KeepKey, OpenMap, SendLite]
    stream, lite = actions[1].request, actions[2].request
    assert (stream.stream, stream.omit_peers, lite.stream, lite.omit_peers) == (True, False, False, True)
    for request in (stream, lite):
        assert (request.version, request.compress, request.node_key) == (CAPABILITY_VERSION, "zstd", KEY.public())
        assert request.disco_key == DiscoKey(b"\x02" * 32)


def test_every_frame_but_a_keep_alive_is_merged_and_the_first_is_marked() -> None:
    one = running()
    assert one.map_frame(MapResponse(keep_alive=True), NOW, WALL) == []
    assert one.map_frame(frame(), NOW, WALL) == [Merge(frame(), first=True)]
    assert one.map_frame(MapResponse(domain="d"), NOW, WALL) == [Merge(MapResponse(domain="d"), first=False)]


def test_silence_for_two_minutes_closes_the_stream_and_opens_it_again() -> None:
    one = running()
    one.map_frame(frame(), Instant(150.0), WALL)
    assert one.next_timeout() == 150.0 + WATCHDOG
    assert one.tick(Instant(149.0 + WATCHDOG)) == []
    assert one.tick(Instant(150.0 + WATCHDOG)) == [CloseMap(dead=True)]
    assert isinstance(one.map, Reopening)
    assert kinds(one.tick(one.next_timeout())) == [OpenMap]


def test_a_keep_alive_feeds_the_watchdog() -> None:
    one = running()
    one.map_frame(MapResponse(keep_alive=True), Instant(190.0), WALL)
    assert one.next_timeout() == 190.0 + WATCHDOG


def test_a_stream_without_a_first_frame_is_watched_as_well() -> None:
    assert running().next_timeout() == NOW + WATCHDOG


def test_reopening_backs_off_to_thirty_seconds_until_a_frame_comes() -> None:
    one, now, waits = running(), NOW, []
    for _ in range(12):
        one.map_ended("gone", now)
        waits.append(one.map.until - now)
        now = one.map.until
        one.tick(now)
    assert waits[0] == pytest.approx(0.1)
    assert waits[-1] == 30.0
    one.map_frame(frame(), now, WALL)
    one.map_ended("gone", now)
    assert one.map.until - now == pytest.approx(0.1)


def test_reports_are_coalesced_and_the_latest_wins() -> None:
    one = running()
    assert kinds(one.update(Report({"n": 1}))) == [SendLite]
    assert one.update(Report({"n": 2})) == []
    assert one.update(Report({"n": 3}, ("192.0.2.1:1",), (2,))) == []
    (lite,) = one.lite_done()
    assert (lite.request.hostinfo, lite.request.endpoints, lite.request.endpoint_types) == (
        {"n": 3},
        ["192.0.2.1:1"],
        [2],
    )
    assert one.lite_done() == []


def test_a_report_that_says_nothing_new_is_not_sent() -> None:
    one = running()
    one.update(Report({"n": 1}))
    one.lite_done()
    assert one.update(Report({"n": 1})) == []


def test_a_report_that_failed_is_sent_again_in_its_newest_form() -> None:
    one = running()
    one.update(Report({"n": 1}))
    one.lite_failed(NOW)
    assert one.update(Report({"n": 2})) == []
    (lite,) = one.tick(one.next_timeout())
    assert lite.request.hostinfo == {"n": 2}


def test_nothing_is_reported_before_the_login() -> None:
    one = session()
    one.start()
    assert one.update(Report({"n": 1})) == []
    actions = one.registered(YES, NOW)
    assert actions[-1].request.hostinfo == {"n": 1}


def test_the_old_key_holds_its_map_while_a_new_one_waits_for_a_visit() -> None:
    one = running()
    one.map_frame(frame(), NOW, WALL)
    assert kinds(one.start(fresh=True)) == [SendRegister]
    one.registered(RegisterResponse(auth_url="https://c.example/1"), NOW)
    one.map_ended("gone", NOW)
    (again,) = one.tick(one.next_timeout())
    assert again.request.node_key == KEY.public()
    actions = one.registered(YES, NOW)
    assert kinds(actions) == [KeepKey, CloseMap, OpenMap, SendLite]
    assert actions[2].request.node_key == NodePrivate(b"\x01" * 32).public()


def test_the_own_key_is_given_up_ten_seconds_after_its_expiry_and_comes_back() -> None:
    one = running()
    soon = datetime.fromtimestamp(WALL + 60, UTC)
    one.map_frame(MapResponse(node=node(soon)), NOW, WALL)
    assert one.next_timeout() == NOW + 70
    assert one.tick(Instant(NOW + 70)) == [KeyExpired(True)]
    assert isinstance(one.map, Streaming)
    actions = one.map_frame(frame(), Instant(NOW + 80), WALL)
    assert actions[0] == KeyExpired(False)


def test_an_expiry_in_the_past_counts_at_once() -> None:
    one = running()
    past = datetime.fromtimestamp(WALL - 1, UTC)
    assert one.map_frame(MapResponse(node=node(past)), NOW, WALL)[0] == KeyExpired(True)


def test_logging_out_ends_the_stream_first() -> None:
    one = running()
    assert kinds(one.logout()) == [CloseMap, SendRegister]
    assert kinds(one.registered(RegisterResponse(), NOW)) == [KeepKey]
    assert isinstance(one.map, NoStream)
    assert one.next_timeout() is None


PING = PingRequest(url="https://c.example/ping/1")


@pytest.mark.parametrize(
    ("ping", "plain", "answer"),
    [
        (PING, False, [Probe("https://c.example/ping/1", False)]),
        (PingRequest(url="https://unused/p/1", url_is_noise=True), False, [Probe("https://unused/p/1", True)]),
        (PingRequest(url="http://c.example/p"), False, []),
        (PingRequest(url="http://c.example/p"), True, [Probe("http://c.example/p", False)]),
        (PingRequest(url="file:///etc/passwd"), True, []),
        (PingRequest(url="https://c.example/p", types="disco", ip="100.64.0.2"), False, []),
        (PingRequest(url=""), False, []),
    ],
)
def test_pings_of_the_server(ping: PingRequest, plain: bool, answer: list) -> None:
    one = running(plain=plain)
    assert one.map_frame(MapResponse(keep_alive=True, ping_request=ping), NOW, WALL) == answer


def test_the_same_ping_is_answered_once() -> None:
    one = running()
    one.map_frame(MapResponse(keep_alive=True, ping_request=PING), NOW, WALL)
    assert one.map_frame(MapResponse(keep_alive=True, ping_request=PING), NOW, WALL) == []


def test_c2n_echo_comes_back() -> None:
    asked = PingRequest(url="https://c/c2n/7?x=1", types="c2n", payload=b"POST /echo HTTP/1.1\r\nHost: x\r\n\r\nhello")
    (reply,) = running().map_frame(frame(ping_request=asked), NOW, WALL)[:1]
    assert isinstance(reply, Reply)
    assert reply.path == "/c2n/7"
    assert reply.body.startswith(b"HTTP/1.1 200 OK\r\n")
    assert reply.body.endswith(b"\r\n\r\nhello")


def test_frames_of_a_stream_that_was_given_up_are_ignored() -> None:
    one = running()
    one.stop()
    assert one.map_frame(frame(), NOW, WALL) == []
    assert one.map_ended("late", NOW) == []
    assert isinstance(one.map, NoStream)
