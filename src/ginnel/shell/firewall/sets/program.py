"""Starting a firewall's own program: an argument list, text to its standard input, a bound on time and output.

Room: shell.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import suppress

from ginnel.shell.firewall.sets import SetError

PATIENCE = 60.0
OUTPUT_LIMIT = 32 << 20
LAST_WORDS = 5.0
PLACES = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
ENVIRONMENT = {"PATH": PLACES, "LC_ALL": "C", "LANG": "C"}


async def run(argv: Sequence[str], stdin: str = "", patience: float = PATIENCE) -> str:
    """Its standard output. Raises SetError with the first line of its complaint. It ends with whoever waits for it."""
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=PLACES)
    if program is None:
        raise SetError(f"{argv[0]} is not installed: install it, or choose another --backend")
    try:
        process = await asyncio.create_subprocess_exec(
            program, *argv[1:], env=ENVIRONMENT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise SetError(f"cannot start {program}: {error.strerror or error}") from None
    try:
        async with asyncio.timeout(patience):
            out, complaint = await _talk(process, argv[0], stdin.encode())
    except TimeoutError:
        raise SetError(f"{argv[0]} has not answered for {patience:.0f} s, and was ended") from None
    finally:
        await _end(process)
    if process.returncode:
        raise SetError(f"{argv[0]}: {_first_line(complaint) or _first_line(out) or f'exit {process.returncode}'}")
    return out.decode("utf-8", "replace")


async def _talk(process: asyncio.subprocess.Process, name: str, stdin: bytes) -> tuple[bytes, bytes]:
    """What it writes to both its outputs, when it has ended."""
    writing = asyncio.create_task(_write(process.stdin, stdin))
    reading = [asyncio.create_task(_read(stream, name)) for stream in (process.stdout, process.stderr)]
    try:
        out, complaint = await asyncio.gather(*reading)
        await process.wait()
        return out, complaint
    finally:
        for task in (writing, *reading):
            task.cancel()
        await asyncio.gather(writing, *reading, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Killed where it runs still. What it wrote is read to the end, else asyncio would not see it go; a child of its
    own that holds its outputs open is not waited for."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await process.communicate()


async def _read(stream: asyncio.StreamReader | None, name: str) -> bytes:
    found = bytearray()
    while stream is not None and (more := await stream.read(1 << 16)):
        found += more
        if len(found) > OUTPUT_LIMIT:
            raise SetError(f"{name} wrote more than {OUTPUT_LIMIT} bytes, and was ended")
    return bytes(found)


async def _write(stream: asyncio.StreamWriter | None, data: bytes) -> None:
    """A program that does not read all of it says by its exit status whether it was content."""
    if stream is not None:
        with suppress(BrokenPipeError, ConnectionResetError):
            stream.write(data)
            await stream.drain()
        stream.close()


def _first_line(text: bytes) -> str:
    return next((line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()), "")[:300]
