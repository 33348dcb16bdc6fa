from itertools import count

import pytest

from ginnel.core.node.login import (
    CAPABILITY_VERSION,
    LOG_OUT,
    Accepted,
    Asking,
    Idle,
    KeepKey,
    Login,
    Refused,
    SendRegister,
    Visit,
    Waiting,
    may_open,
)
from ginnel.wire import tailcfg
from ginnel.wire.tailcfg import RegisterAuth, RegisterResponse
from ginnel.words import Instant, NodePrivate

NOW = Instant(100.0)
STORED = NodePrivate(b"\x40" * 32)
YES = RegisterResponse(machine_authorized=True, login=tailcfg.Login(login_name="alice@example.com"))
URL = "https://c.example/register/1"


def draw():
    numbers = count(1)
    return lambda: bytes([next(numbers)]) * 32


def new_login(stored: NodePrivate | None = None, *, plain: bool = False) -> Login:
    return Login(stored, hostinfo={"Hostname": "a"}, draw=draw(), jitter=lambda: 1.0, plain=plain)


def request(actions):
    (sent,) = (a.request for a in actions if isinstance(a, SendRegister))
    return sent


def test_a_first_login_offers_a_new_key_with_the_auth_key() -> None:
    login = new_login()
    sent = request(login.start(auth_key="k"))
    assert sent.node_key == NodePrivate(b"\x01" * 32).public()
    assert (sent.auth, sent.old_node_key, sent.expiry) == (RegisterAuth("k"), None, None)
    assert sent.version == CAPABILITY_VERSION
    assert login.answered(YES, NOW) == [KeepKey(NodePrivate(b"\x01" * 32), "alice@example.com")]
    assert isinstance(login.state, Accepted)


def test_a_restart_offers_the_stored_key_and_nothing_else() -> None:
    sent = request(new_login(STORED).start())
    assert (sent.node_key, sent.auth, sent.old_node_key) == (STORED.public(), None, None)


def test_an_expired_key_is_rotated_once_with_the_same_auth_key() -> None:
    login = new_login(STORED)
    login.start(auth_key="k")
    sent = request(login.answered(RegisterResponse(node_key_expired=True), NOW))
    assert (sent.node_key, sent.old_node_key) == (NodePrivate(b"\x01" * 32).public(), STORED.public())
    assert sent.auth == RegisterAuth("k")
    assert login.answered(RegisterResponse(node_key_expired=True), NOW) == []
    assert isinstance(login.state, Waiting)


def test_until_a_new_key_is_accepted_the_old_one_stays_stored() -> None:
    login = new_login(STORED)
    login.start(fresh=True)
    assert login.stored == STORED
    login.answered(YES, NOW)
    assert login.stored == NodePrivate(b"\x01" * 32)


def test_an_interactive_login_shows_the_address_and_waits_with_the_same_key() -> None:
    login = new_login()
    login.start()
    visit, ask = login.answered(RegisterResponse(auth_url=URL), NOW)
    assert visit == Visit(URL)
    assert (ask.request.followup, ask.request.node_key) == (URL, NodePrivate(b"\x01" * 32).public())
    assert login.visit == URL
    assert login.answered(YES, NOW) == [KeepKey(NodePrivate(b"\x01" * 32), "alice@example.com")]
    assert login.visit == ""


def test_another_address_replaces_the_first() -> None:
    login = new_login()
    login.start()
    login.answered(RegisterResponse(auth_url=URL), NOW)
    visit, ask = login.answered(RegisterResponse(auth_url=URL + "2"), NOW)
    assert (visit, ask.request.followup) == (Visit(URL + "2"), URL + "2")


def test_the_same_address_again_is_no_tight_loop() -> None:
    login = new_login()
    login.start()
    login.answered(RegisterResponse(auth_url=URL), NOW)
    assert login.answered(RegisterResponse(auth_url=URL), NOW) == []
    assert login.visit == URL
    assert login.next_timeout() > NOW


def test_a_lost_followup_is_repeated_with_the_same_address() -> None:
    login = new_login()
    login.start()
    login.answered(RegisterResponse(auth_url=URL), NOW)
    login.unanswered("gone", NOW)
    assert request(login.tick(login.next_timeout())).followup == URL


def test_a_refusal_is_final_until_the_user_acts() -> None:
    login = new_login()
    login.start(auth_key="wrong")
    assert login.answered(RegisterResponse(error="invalid pre auth key"), NOW) == []
    assert login.state == Refused("invalid pre auth key")
    assert (login.next_timeout(), login.tick(Instant(NOW + 1e6))) == (None, [])
    assert request(login.start(auth_key="right")).auth == RegisterAuth("right")


def test_waiting_doubles_to_thirty_seconds_and_no_further() -> None:
    login = new_login()
    login.start()
    now, waits = NOW, []
    for _ in range(14):
        login.unanswered("no route", now)
        waits.append(login.next_timeout() - now)
        now = login.next_timeout()
        login.tick(now)
    assert waits[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(waits) == pytest.approx(30.0)


def test_the_key_that_was_offered_is_offered_again_after_a_failure() -> None:
    login = new_login()
    first = request(login.start())
    login.unanswered("no route", NOW)
    assert request(login.tick(login.next_timeout())).node_key == first.node_key


def test_logging_out_expires_the_stored_key_and_forgets_it() -> None:
    login = new_login(STORED)
    sent = request(login.logout())
    assert (sent.node_key, sent.expiry) == (STORED.public(), LOG_OUT)
    assert b'"Expiry":"1970-01-01T00:02:03Z"' in tailcfg.encode(sent)
    assert login.answered(RegisterResponse(), NOW) == [KeepKey(None)]
    assert (login.state, login.stored) == (Idle(), None)


def test_a_logout_that_the_server_refuses_keeps_the_key() -> None:
    login = new_login(STORED)
    login.logout()
    login.answered(RegisterResponse(error="no"), NOW)
    assert login.stored == STORED


def test_answers_that_come_too_late_change_nothing() -> None:
    login = new_login()
    login.start()
    login.answered(YES, NOW)
    assert login.answered(RegisterResponse(error="late"), NOW) == []
    assert isinstance(login.state, Accepted)
    assert login.unanswered("late", NOW) == []
    assert isinstance(login.state, Accepted)


@pytest.mark.parametrize(
    ("url", "plain", "good"),
    [
        ("https://c.example/a", False, True),
        ("http://c.example/a", False, False),
        ("http://c.example/a", True, True),
        ("javascript:alert(1)", True, False),
        ("file:///etc/passwd", True, False),
        ("https://", False, False),
        ("https://c.example/\x1b[2J", False, False),
        ("https://c.example/ x", False, False),
        ("https://[::1", False, False),
    ],
)
def test_only_web_addresses_are_shown(url: str, plain: bool, good: bool) -> None:
    assert may_open(url, plain=plain) is good
    login = new_login(plain=plain)
    login.start()
    login.answered(RegisterResponse(auth_url=url), NOW)
    assert isinstance(login.state, Asking if good else Refused)


def test_no_repr_holds_a_secret() -> None:
    login = new_login(STORED)
    login.start(auth_key="sesame")
    assert "sesame" not in repr(login.state)
    assert STORED.raw.hex() not in repr(login.state)
