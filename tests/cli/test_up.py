import pytest

from ginnel.cli.up import PATIENCE, Progress, Wish, check_tags, check_url, read_invite, wishes
from ginnel.wire.invite import Invite, encode_invite
from ginnel.words import MachineKey

BEFORE = {
    "ControlURL": "", "ServerKey": "", "WantRunning": False, "LoggedOut": False, "Hostname": "", "RouteAll": False,
    "AdvertiseTags": [],
}  # fmt: skip
KEY = MachineKey(b"\x07" * 32)
INVITE = encode_invite(Invite("https://c.example", KEY, "sesame"))


def test_an_invite_names_server_key_and_auth_key() -> None:
    prefs, auth_key = wishes(BEFORE, Wish(invite=INVITE))
    assert (prefs["ControlURL"], prefs["ServerKey"], auth_key) == ("https://c.example", str(KEY), "sesame")
    assert prefs["WantRunning"]


def test_a_login_server_without_an_invite_pins_nothing() -> None:
    prefs, _ = wishes(BEFORE | {"ServerKey": str(KEY)}, Wish(login_server="c.example/", auth_key="k"))
    assert (prefs["ControlURL"], prefs["ServerKey"]) == ("https://c.example", "")


def test_the_same_server_keeps_its_pinned_key() -> None:
    before = BEFORE | {"ControlURL": "https://c.example", "ServerKey": str(KEY)}
    assert wishes(before, Wish(login_server="https://c.example"))[0]["ServerKey"] == str(KEY)


def test_what_is_not_mentioned_stays_and_reset_forgets_it() -> None:
    before = BEFORE | {"ControlURL": "https://c.example", "Hostname": "a", "RouteAll": True}
    assert wishes(before, Wish(hostname="b"))[0] | {"WantRunning": False} == before | {"Hostname": "b"}
    assert wishes(before, Wish(reset=True))[0]["RouteAll"] is False


def test_an_auth_key_can_come_from_a_file(tmp_path) -> None:
    (tmp_path / "key").write_text("sesame\n")
    assert wishes(BEFORE, Wish(login_server="c.example", auth_key=f"file:{tmp_path}/key"))[1] == "sesame"


@pytest.mark.parametrize(
    "refused",
    [
        lambda: wishes(BEFORE, Wish()),
        lambda: wishes(BEFORE, Wish(invite="ginnel-invite1:AAAA")),
        lambda: wishes(BEFORE, Wish(invite="hello")),
        lambda: wishes(BEFORE, Wish(login_server="c", auth_key="file:/nonexistent")),
        lambda: check_url("ftp://c.example"),
        lambda: check_url("https://[::1"),
        lambda: check_tags("tag:a,b"),
        lambda: read_invite(INVITE[:-3]),
    ],
)
def test_a_refusal_is_one_line_and_exit_status_1(refused, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        refused()
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


EVENT = {
    "State": "Starting", "AuthURL": "", "Refused": "", "Problem": "", "EverAccepted": False, "Health": [],
}  # fmt: skip


def test_progress_is_told_once_and_ends_with_running(capsys) -> None:
    progress = Progress("https://c.example")
    for state in ("Starting", "Starting"):
        assert progress.take(EVENT | {"State": state}, 0.0) is None
    assert progress.take(EVENT | {"State": "Running"}, 0.0) == ""
    assert capsys.readouterr().out.count("looking for the nearest relay") == 1


def test_the_login_address_is_shown(capsys) -> None:
    Progress("x").take(EVENT | {"AuthURL": "https://c.example/r/1", "State": "NeedsLogin"}, 0.0)
    assert "To authenticate, visit:\n\n\thttps://c.example/r/1\n" in capsys.readouterr().out


def test_a_refusal_says_what_to_do() -> None:
    line = Progress("https://c.example").take(EVENT | {"Refused": "authkey expired"}, 0.0)
    assert line == "https://c.example refused this machine: authkey expired; ask for a new invite or auth key"


def test_a_server_that_never_answered_gets_some_seconds_and_a_known_one_for_ever() -> None:
    down = EVENT | {"Problem": "cannot connect", "State": "NeedsLogin"}
    fresh, known = Progress("https://c.example"), Progress("https://c.example")
    assert fresh.take(down, 0.0) is None
    assert "cannot log in at https://c.example: cannot connect" in (fresh.take(down, PATIENCE) or "")
    assert fresh.take(EVENT | {"State": "NeedsLogin"}, PATIENCE) is not None  # while it asks again
    assert known.take(down | {"EverAccepted": True}, 0.0) is None
    assert known.take(down | {"EverAccepted": True}, 1000.0) is None


def test_a_certificate_that_is_not_trusted_is_answered_by_an_invite() -> None:
    untrusted = EVENT | {"Problem": "the certificate of c.example:443 is not trusted", "State": "NeedsLogin"}
    progress = Progress("https://c.example")
    assert progress.take(untrusted, 0.0) is None
    line = progress.take(untrusted, PATIENCE) or ""
    assert "join by an invite" in line
    assert "that the server runs" not in line
