"""A network namespace with our server and Tailscale's own daemon in it, pointed at the server's log host. Run under
`unshare -n`; prints what came of it as JSON.

    tailscaled (no TUN) --TLS, the server's own certificate--> server, relay and log host at 192.0.2.1
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ginnel.shell.control.config import read_config
from ginnel.shell.control.logsink import LogHost
from ginnel.shell.control.relayside import start_relay
from ginnel.shell.control.run import ControlServer
from tests.shell.control.control_client import auth_key

ADDRESS = "192.0.2.1"
LINK = (
    "link set lo up", "link add d0 type veth peer name d1", "link set d1 up", f"addr add {ADDRESS}/24 dev d0",
    "link set d0 up", "route add default via 192.0.2.2",
)  # fmt: skip
PATIENCE = 60.0
QUIET = 6.0
"""Seconds in which a client that has nothing to say must not upload again and again."""


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def said(*command: str, env: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0, (command, process.returncode)
    return out.decode()


async def play(place: Path, tailscaled: str, tailscale: str) -> dict[str, Any]:
    state = place / "server"
    config = read_config(None, {
        "state": str(state), "url": f"https://{ADDRESS}", "listen": (f"{ADDRESS}:443",),
        "listen_http": (f"{ADDRESS}:80",), "stun_listen": (f"{ADDRESS}:3478",), "log_host": {"names": [ADDRESS]},
    })  # fmt: skip
    async with ControlServer(config, start_relay) as server:
        assert server.log_host is not None
        env = {
            "PATH": os.environ["PATH"], "HOME": str(place), "TS_LOGS_DIR": str(place),
            "TS_LOG_TARGET": f"https://{ADDRESS}", "SSL_CERT_FILE": str(state / "relay.crt"),
        }  # fmt: skip
        socket = ("--socket", str(place / "socket"))
        options = ("--tun=userspace-networking", "--statedir", str(place / "daemon"), "--port", "0", *socket)
        with (place / "stderr").open("wb") as stderr:
            daemon = await asyncio.create_subprocess_exec(tailscaled, *options, env=env, stderr=stderr)
        try:
            return await talk(server, server.log_host, [tailscale, *socket], env)
        finally:
            daemon.terminate()
            await daemon.wait()


async def talk(server: ControlServer, host: LogHost, tailscale: list[str], env: dict[str, str]) -> dict[str, Any]:
    await until(lambda: host.taken["lines"] > 0)
    before = dict(host.taken)
    up = ("up", "--login-server", server.config.url, "--auth-key", await auth_key(server), "--hostname", "official")
    await said(*tailscale, *up, env=env)
    await until(lambda: host.taken["lines"] > before["lines"] + 20)
    began = host.taken["uploads"]
    await asyncio.sleep(QUIET)
    ours = [sys.executable, "-c", "from ginnel.cli.main import main; main()", "logs", "--state", server.config.state]
    paths = {"PATH": env["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    return {
        "before_login": before,
        "taken": host.taken,
        "while_quiet": host.taken["uploads"] - began,
        "refused": host.refused,
        "status": json.loads(await said(*tailscale, "status", "--json", env=env))["Health"],
        "shown": (await said(*ours, "official", env=paths)).splitlines(),
    }


if __name__ == "__main__":
    for words in LINK:
        subprocess.run(["ip", *words.split()], check=True)
    print(json.dumps(asyncio.run(play(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))))  # noqa: T201
