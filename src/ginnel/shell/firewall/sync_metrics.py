"""The numbers of `firewall sync` for Prometheus: served, or written as a file for node_exporter's textfile collector.

Room: shell.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from ginnel.shell.firewall.sync_drive import Keeper
from ginnel.shell.metrics import exposition

PREFIX = "ginnel_firewall_sync"
READABLE = 0o644  # by the collector, which is another user; there is nothing secret in it


class MetricsError(Exception):
    """One line for people."""


def text_of(keeper: Keeper) -> Callable[[], bytes]:
    return exposition(
        PREFIX,
        lambda: {kind.replace("-", "."): number for kind, number in keeper.counts.items()},
        lambda: {**keeper.machine.numbers(), **keeper.times},
    )


def address_of(text: str) -> tuple[str, int] | None:
    """`9105`, `127.0.0.1:9105`, `[::1]:9105`; None for the name of a file. A port alone is this machine's. Raises
    MetricsError for a number that is no port."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()):
        return None
    try:
        place = str(ip_address(host.strip("[]") or "127.0.0.1"))
    except ValueError:
        return None
    if not 0 <= int(port[:6]) < 65536:
        raise MetricsError(
            f"--metrics {text}: there is no port {port}, 65535 is the highest; a file is named as ./{port}"
        )
    return place, int(port)


@asynccontextmanager
async def serving(keeper: Keeper, host: str, port: int) -> AsyncIterator[int]:
    """`/metrics`. Gives the port. Raises MetricsError."""
    from starlette.applications import Starlette  # noqa: PLC0415  (who asks for no numbers need not wait for it)

    from ginnel.shell.metrics_door import listening, metrics_route  # noqa: PLC0415

    try:
        async with listening(Starlette(routes=[metrics_route([text_of(keeper)])]), host, port) as bound:
            yield bound
    except OSError as error:
        raise MetricsError(f"cannot serve numbers at {host} port {port}: {error.strerror or error}") from None


def write(path: Path, text: bytes) -> None:
    """Whole or not at all, as the collector wants it. Raises MetricsError."""
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, READABLE), "wb") as file:
            os.fchmod(file.fileno(), READABLE)
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise MetricsError(f"cannot write the numbers to {path}: {error.strerror}") from None
