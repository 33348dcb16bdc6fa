import threading
import urllib.error
import urllib.request

import pytest

from ginnel.cli import status_web
from ginnel.cli.local import ApiError
from ginnel.cli.status import Wish
from ginnel.cli.status_web import Server, ours, page
from tests.cli.test_status import STATUS

LIMIT = 20.0
EVIL = "<script>alert(1)</script>"


class Daemon:
    """`ginneld`, as the local API shows it."""

    def __init__(self, status: dict, silent: str = "") -> None:
        self.status, self.silent = status, silent

    def why_silent(self) -> str:
        return self.silent

    def get(self, name: str) -> dict:
        assert name == "status"
        if "error" in self.status:
            raise ApiError(500, self.status["error"])
        return self.status


def shown(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, **wish: bool) -> str:
    monkeypatch.setattr(status_web, "local", lambda _: daemon)
    return page(Wish(header=True, **wish))


def test_the_page_has_the_table_and_the_health_lines(monkeypatch):
    got = shown(monkeypatch, Daemon(STATUS))
    assert "<th>IP</th><th>Hostname</th><th>Owner</th><th>OS</th><th>Status</th>" in got
    assert "<td>100.64.0.2</td><td>bob</td><td>alice@</td><td>linux</td><td>active; direct 192.0.2.7:41641, tx" in got
    assert "<p>careful" in got
    assert "100.64.0.3" not in shown(monkeypatch, Daemon(STATUS), active=True)


def test_what_other_machines_are_called_is_text_and_never_markup(monkeypatch):
    peer = STATUS["Peer"]["nodekey:2"] | {"DNSName": f"{EVIL}.mesh.example.", "OS": EVIL, "Relay": EVIL, "CurAddr": ""}
    itself = STATUS["Self"] | {"DNSName": EVIL}
    got = shown(monkeypatch, Daemon(STATUS | {"Peer": {"k": peer}, "Self": itself, "Health": [EVIL]}))
    assert "<script" not in got
    assert got.count("&lt;script&gt;") == 6


@pytest.mark.parametrize(
    ("daemon", "told"),
    [
        (Daemon({}, "ginneld does not run"), "<p>ginneld does not run</p>"),
        (Daemon({"error": "the daemon ends"}), "<p>the daemon ends</p>"),
        (Daemon({"BackendState": "Stopped"}), "<p>ginnel is stopped"),
    ],
)
def test_without_a_mesh_the_page_says_why(monkeypatch, daemon, told):
    assert told in shown(monkeypatch, daemon)


@pytest.mark.parametrize("host", ["127.0.0.1:8384", "localhost", "localhost:1", "[::1]:8384", "[::1]", "192.0.2.7"])
def test_it_answers_under_an_address(host):
    assert ours(host)


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8384", "127.0.0.1.evil.example", "localhost.evil"])
def test_it_does_not_answer_under_a_name_that_somebody_else_may_lead_here(host):
    assert not ours(host)


@pytest.fixture
def url():
    server = Server(("127.0.0.1", 0), lambda: "<p>the page</p>")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join(LIMIT)
    server.server_close()


def test_a_browser_gets_the_page_and_no_other(url):
    with urllib.request.urlopen(url, timeout=LIMIT) as answer:
        assert answer.read() == b"<p>the page</p>"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for asked, status in (
        (url + "etc/passwd", 404),
        (urllib.request.Request(url, headers={"Host": "evil.example"}), 403),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=LIMIT)
        refused.value.close()
        assert refused.value.code == status


def test_an_address_that_is_none_ends_with_one_line(capsys):
    with pytest.raises(SystemExit):
        status_web.serve(Wish(), "localhost", browser=False)
    assert capsys.readouterr().err == "--listen 'localhost' is no address: expected IP:PORT, as in 127.0.0.1:8384\n"
