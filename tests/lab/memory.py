"""What a process holds in its memory."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CHUNK = 1 << 20


def holds(pid: int, needles: list[bytes]) -> set[bytes]:
    """Which of these stand somewhere in what the process can write to, its stacks and heaps."""
    return {needle for piece in pieces(pid, max(map(len, needles))) for needle in needles if needle in piece}


def pieces(pid: int, overlap: int) -> Iterator[bytes]:
    ranges = [line.split()[:2] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for span, rights in ranges:
            if rights.startswith("rw"):
                first, last = (int(end, 16) for end in span.split("-"))
                for at in range(first, last, CHUNK):
                    with suppress(OSError):  # gone meanwhile
                        memory.seek(at)
                        yield memory.read(min(CHUNK + overlap, last - at))
