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
OUTPUT_LIMIT = 64 << 20
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
            out, complaint = await process.communicate(stdin.encode())
    except TimeoutError:
        raise SetError(f"{argv[0]} has not answered for {patience:.0f} s, and was ended") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise SetError(f"{argv[0]}: {_first_line(complaint) or _first_line(out) or f'exit {process.returncode}'}")
    if len(out) > OUTPUT_LIMIT:
        raise SetError(f"{argv[0]} wrote {len(out)} bytes, {OUTPUT_LIMIT} are the most")
    return out.decode("utf-8", "replace")


def _first_line(text: bytes) -> str:
    return next((line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()), "")[:300]
