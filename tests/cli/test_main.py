"""How `ginnel` starts."""

import subprocess
import sys

from click.testing import CliRunner

from ginnel.cli.commands import ginnel
from ginnel.cli.status import FLAGS, Wish, plain_wish
from ginnel.cli.status_command import status

SLOW = {"click", "asyncio", "msgspec", "inspect", "dataclasses", "http.client"}
PAGE = {"--web", "--listen", "--browser", "--no-browser"}  # a page is in no hurry
PROGRAM = """
import sys
sys.argv = ["ginnel", "status", "--json", "--socket", "/nonexistent/socket"]
from ginnel.cli.main import main
try:
    main()
except SystemExit as end:
    print(end.code, *sys.modules)
"""


def test_status_starts_without_what_takes_long_to_import():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    code, *modules = done.stdout.split()
    assert code == "1"
    assert not SLOW & set(modules)
    assert "ginneld is not running" in done.stderr


def test_the_quick_way_and_click_know_the_same_flags():
    declared = {name for option in status.params for name in (*option.opts, *option.secondary_opts)}
    assert declared - PAGE == {*FLAGS, "--socket"}


def test_each_plain_flag_means_what_click_makes_of_it(monkeypatch):
    for flag in FLAGS:
        seen = []
        monkeypatch.setattr("ginnel.cli.status_command.show", seen.append)
        CliRunner().invoke(status, [flag, "--socket", "/run/x"], catch_exceptions=False)
        assert seen == [plain_wish([flag, "--socket", "/run/x"])]


def test_what_is_not_a_plain_flag_is_left_to_click():
    assert plain_wish([]) == Wish()
    for words in (
        ["--help"],
        ["--js"],
        ["peer"],
        ["--socket"],
        ["--socket=/run/x"],
        ["--peers=false"],
        ["--json", "-h"],
    ):
        assert plain_wish(words) is None


def test_an_unknown_flag_of_status_is_refused():
    refused = CliRunner().invoke(ginnel, ["status", "--nonsense"])
    assert refused.exit_code == 2
    assert "--nonsense" in refused.output
