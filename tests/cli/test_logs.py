"""`ginnel logs` against a running server."""

import asyncio
import json
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from ginnel.cli import commands
from tests.shell.control.control_client import PATIENCE, Client, auth_key, running
from tests.shell.control.log_client import LOG_HOST, public, upload

KEPT = "Kept for 30 days, at most 64 MiB of each machine and 1024 MiB in all; "


async def ginnel(state: Path, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, commands.ginnel, ["logs", *arguments, "--state", str(state)])


async def test_lines_are_shown_with_their_machine_and_as_data(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server, Client(server, "laptop") as client:
        await client.register(await auth_key(server))
        await client.lite(Hostinfo=client.hostinfo(BackendLogID=public(1)))
        await upload(server, 1, "red \x1b[31m", "two\nlines")
        await upload(server, 2, "somebody")
        shown = await ginnel(tmp_path)
        assert (shown.exit_code, "\x1b" in shown.output) == (0, False)
        lines = [line.partition(" ")[2] for line in shown.stdout.splitlines()]
        assert lines == ["laptop: red \\x1b[31m", "laptop: two\\nlines", f"{public(2)[:12]}: somebody"]
        assert shown.stderr == KEPT + "8 KiB in use.\n"
        of_one = await ginnel(tmp_path, "laptop", "--json", "--since", "1h")
        assert [json.loads(line)["text"] for line in of_one.stdout.splitlines()] == ["red \x1b[31m", "two\nlines"]
        assert "\x1b" not in of_one.stdout


async def test_who_has_lines_is_listed(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        await upload(server, 1, "one")
        shown = await ginnel(tmp_path, "--sources")
        assert public(1) in shown.output
        assert "Uploads taken since the start: 1; refused: none." in shown.output
        (source,) = json.loads((await ginnel(tmp_path, "--sources", "--json")).stdout)["sources"]
        assert (source["log_id"], source["nodes"], source["bytes"]) == (public(1), [], 4096)


async def test_following_shows_lines_as_they_come(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        await upload(server, 1, "before")
        program = (  # whoever started these tests in the background may have had SIGINT ignored
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
            "from ginnel.cli.main import main; main()"
        )
        arguments = ("logs", "--follow", "--state", str(tmp_path))
        pipe = asyncio.subprocess.PIPE
        follower = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, *arguments, stdout=pipe, stderr=pipe
        )
        assert follower.stdout is not None
        assert follower.stderr is not None
        try:
            async with asyncio.timeout(PATIENCE):
                assert (await follower.stdout.readline()).endswith(b": before\n")
                assert (await follower.stderr.readline()).startswith(b"Kept for 30 days")
                await upload(server, 1, "after")
                assert (await follower.stdout.readline()).endswith(b": after\n")
                follower.send_signal(2)
                assert await follower.wait() == 130
                assert await follower.stderr.read() == b""
        finally:
            if follower.returncode is None:
                follower.kill()
                await follower.communicate()


async def test_what_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    async with running(tmp_path / "off") as server:
        shown = await ginnel(tmp_path / "off")
        assert (shown.exit_code, shown.output.count("\n")) == (1, 1)
        assert "no log host is configured" in shown.output
        del server
    async with running(tmp_path / "on", **LOG_HOST) as server, Client(server, "laptop") as client:
        await client.register(await auth_key(server))
        shown = await ginnel(tmp_path / "on", "laptop")
        assert (shown.exit_code, "laptop has told of no log" in shown.output) == (1, True)
        assert "no node 'desktop'" in (await ginnel(tmp_path / "on", "desktop")).output
