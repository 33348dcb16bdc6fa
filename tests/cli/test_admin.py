"""The admin's commands against a running server."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ginnel.cli import commands
from ginnel.core.control import limits
from ginnel.shell.control.admin import VERBS
from ginnel.shell.control.adminclient import AdminError, call
from ginnel.shell.control.config import read_config
from ginnel.shell.control.run import ControlServer
from tests.shell.control.control_client import Client, auth_key


def server_at(state: Path) -> ControlServer:
    options: dict[str, Any] = {"state": str(state), "url": "http://127.0.0.1:1", "listen_plain": ("127.0.0.1:0",)}
    return ControlServer(read_config(None, options))


async def ginnel(state: Path, *arguments: str, stdin: str | None = None) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, commands.ginnel, [*arguments, "--state", str(state)], stdin)


async def test_users_come_and_go(tmp_path: Path) -> None:
    async with server_at(tmp_path):
        assert (await ginnel(tmp_path, "users", "create", "bob")).output == "User bob created.\n"
        assert "bob" in (await ginnel(tmp_path, "users", "list")).output
        assert (await ginnel(tmp_path, "users", "rename", "bob", "rob")).exit_code == 0
        listed = json.loads((await ginnel(tmp_path, "users", "list", "-o", "json")).output)
        assert [user["name"] for user in listed] == ["default", "rob"]
        assert (await ginnel(tmp_path, "users", "destroy", "rob")).exit_code == 0


async def test_a_key_is_shown_once_and_listed_by_prefix(tmp_path: Path) -> None:
    async with server_at(tmp_path):
        made = await ginnel(
            tmp_path, "preauthkeys", "create", "-u", "default", "-e", "24h", "--reusable", "--tags", "tag:a"
        )
        key = made.output.strip()
        listed = await ginnel(tmp_path, "preauthkeys", "list")
        assert key.split("-")[1] in listed.output
        assert key.split("-")[2] not in listed.output
        assert (await ginnel(tmp_path, "preauthkeys", "expire", key.split("-")[1])).output == "Key revoked.\n"
        (row,) = json.loads((await ginnel(tmp_path, "preauthkeys", "list", "--json")).output)
        assert (row["revoked"], row["reusable"], row["acl_tags"]) == (True, True, ["tag:a"])


async def test_nodes_are_listed_in_headscales_columns(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server:
        async with Client(server, "Lap top") as client:
            await client.register(await auth_key(server))
        listed = (await ginnel(tmp_path, "nodes", "list")).output.splitlines()
        head, row = (re.split(r"  +", line) for line in listed)
        assert " ".join(head[:8]) == "ID HOSTNAME NAME MACHINEKEY NODEKEY USER TAGS IP ADDRESSES"
        assert " ".join(head[8:]) == "EPHEMERAL LAST SEEN EXPIRATION CONNECTED EXPIRED"
        keys = client.machine.public().short(), client.key.public().short()
        assert row[:6] == ["1", "Lap top", "lap-top", *keys, "default"]
        assert row[6:] == ["-", "100.64.0.1,fd7a:115c:a1e0::1", "no", "-", "-", "no", "no"]


async def test_the_policy_is_checked_with_its_line_set_and_shown(tmp_path: Path) -> None:
    good = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:22"]}]} // ssh only\n'
    async with server_at(tmp_path / "state"):
        state = tmp_path / "state"
        (tmp_path / "bad").write_text('{\n"acls": [],\n"acl": []}')
        (tmp_path / "good").write_text(good)
        bad = await ginnel(state, "policy", "check", str(tmp_path / "bad"))
        assert (bad.exit_code, bad.output.count("\n"), "line 3" in bad.output) == (1, 1, True)
        assert "No policy is set" in (await ginnel(state, "policy", "get")).output
        assert (await ginnel(state, "policy", "set", str(tmp_path / "good"))).exit_code == 0
        assert (await ginnel(state, "policy", "set", "-f", str(tmp_path / "bad"))).exit_code == 1
        assert (await ginnel(state, "policy", "get")).output == good
        assert (await ginnel(state, "policy", "check", "-", stdin=good)).exit_code == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("users", "create", "default"), "exists already"),
        (("users", "destroy", "nobody"), "no user 'nobody'"),
        (("nodes", "delete", "7"), "no node '7'"),
        (("nodes", "rename", "a", "b"), "no node 'a'"),
        (("nodes", "register", "--key", "x", "--user", "default"), "no login 'x'"),
        (("auth", "approve", "x", "-u", "default"), "no login 'x'"),
        (("preauthkeys", "create"), "needs a user"),
        (("preauthkeys", "create", "-u", "default", "-e", "soon"), "not a time"),
        (("preauthkeys", "create", "-u", "default", "--tags", "server"), "tag:name"),
        (("preauthkeys", "expire", "x"), "no pre-auth key 'x'"),
        (("policy", "set", "/nowhere/policy"), "No such file"),
    ],
)
async def test_what_cannot_be_done_is_one_line_and_status_1(
    tmp_path: Path, command: tuple[str, ...], words: str
) -> None:
    async with server_at(tmp_path):
        result = await ginnel(tmp_path, *command)
    assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
    assert words in result.output


async def test_a_policy_beyond_the_limit_is_refused_in_words(tmp_path: Path) -> None:
    async with server_at(tmp_path):
        with pytest.raises(AdminError, match="at most"):
            await asyncio.to_thread(
                call, tmp_path / "admin.sock", "policy.check", {"text": " " * limits.MAX_ADMIN_BODY}
            )


async def test_without_a_server_the_command_says_how_to_start_one(tmp_path: Path) -> None:
    result = await ginnel(tmp_path, "nodes", "list")
    assert result.exit_code == 1
    assert "ginnel server run" in result.output
    assert result.output.count("\n") == 1


async def test_an_invite_is_made_on_request(tmp_path: Path) -> None:
    async with server_at(tmp_path):
        result = await ginnel(tmp_path, "server", "invite", "--user", "default")
        assert result.output.startswith("ginnel-invite1:")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_the_admin_socket_listens_to_root_and_its_own_user_alone(tmp_path: Path) -> None:
    """Even where file modes would let others in."""
    program = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setuid(int(sys.argv[2]))\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "try:\n"
        "  s.sendall(b'POST /v1/users.list HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\n{}')\n"
        "  print(len(s.recv(100)))\n"
        "except ConnectionError: print(0)\n"
    )
    async with server_at(tmp_path / "state"):
        state = tmp_path / "state"
        for directory in (state, *list(state.parents)[:-2]):
            directory.chmod(0o755)
        (state / "admin.sock").chmod(0o666)
        heard: dict[int, bytes] = {}
        for uid in (0, 65534):
            command = [sys.executable, "-I", "-c", program, str(state / "admin.sock"), str(uid)]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
            heard[uid] = done.stdout.strip() or done.stderr
        assert int(heard[0]) > 0, heard
        assert heard[65534] == b"0", heard


def test_every_verb_of_the_server_has_a_handler_of_its_own() -> None:
    assert len({run for _, run in VERBS.values()}) == len(VERBS)


def test_starting_a_command_loads_nothing_heavy() -> None:
    program = (
        "import sys, ginnel.cli.admin; print([m for m in ('sqlalchemy', 'uvicorn', 'msgspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
