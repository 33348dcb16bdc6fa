"""Debian's knot as somebody else's DNS server, on loopback."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.core.relaydns.relay_names import ZONE
from tests.shell.relaydns.dig import PATIENCE

SECRET = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
KEY_LINE = f"hmac-sha256:update.example:{SECRET}\n"
EMPTY_ZONE = (
    f"{ZONE}. 60 SOA ns1.{ZONE}. admin.{ZONE}. 1 300 60 604800 60\n{ZONE}. 60 NS ns1.{ZONE}.\nns1.{ZONE}. A 127.0.0.1\n"
)


def config(directory: Path, port: int, zone: str) -> str:
    return f"""
server:
    rundir: {directory}/run
    listen: 127.0.0.1@{port}
    background-workers: 1
    udp-workers: 1
    tcp-workers: 2
database:
    storage: {directory}
log:
  - target: stderr
    any: info
key:
  - id: update.example
    algorithm: hmac-sha256
    secret: {SECRET}
{zone}
"""


PRIMARY = f"""
acl:
  - id: updates
    key: update.example
    action: update
    update-type: [A, AAAA]
zone:
  - domain: {ZONE}
    storage: DIRECTORY
    file: primary.zone
    acl: updates
"""

SECONDARY = f"""
remote:
  - id: ours
    address: 127.0.0.1@PRIMARY
    key: update.example
acl:
  - id: told
    address: 127.0.0.1
    action: notify
zone:
  - domain: {ZONE}
    storage: DIRECTORY
    file: secondary.zone
    master: ours
    acl: told
"""


@asynccontextmanager
async def knot(directory: Path, port: int, zone: str) -> AsyncIterator[None]:
    """Runs inside the block, and answers when it begins."""
    program = shutil.which("knotd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program, "Debian package knot is missing: scripts/system-packages installs it"
    (directory / "run").mkdir(parents=True, exist_ok=True)
    (directory / "primary.zone").write_text(EMPTY_ZONE) if not (directory / "primary.zone").exists() else None
    written = directory / "knot.conf"
    written.write_text(config(directory, port, zone.replace("DIRECTORY", str(directory))))
    with (directory / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(program, "-c", str(written), stdout=log, stderr=log)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _listens(port):
                assert process.returncode is None, (directory / "log").read_text()
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        await asyncio.sleep(0.02)
        return False
    writer.close()
    return True
