"""The log host's files: `<state>/logs/<public id>/<stamp>.zst`, 0600 in 0700 directories.

Room: shell. Called from one thread. Names are derived: a directory is the SHA-256 of what came, a file the time of its
first line. Nothing is synced for each upload: what was acknowledged survives the end of this process, and a crash of
the machine costs what the kernel had not written, usually the last half minute. A file is synced when it is complete.
A file is added to only by the process that made it, so a frame that a crash cut short is always the last of its file.
"""

from __future__ import annotations

import heapq
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import IO

from ginnel.core.logs import limits
from ginnel.core.logs.frames import HEAD_SIZE, FrameHead, read_frame, read_head, write_frame
from ginnel.core.logs.shelf import Segment, Shelf, Space
from ginnel.core.logs.upload import Line, is_log_id
from ginnel.wire.read import Malformed
from ginnel.words import WallTime

log = logging.getLogger("ginnel.logs")
COARSE = 10_000
"""Microseconds: the kernel's clock for files may be this much behind."""

_NAME = re.compile(r"(\d{1,18})\.zst", re.ASCII)


class NoRoom(Exception):
    """Nothing can be written now. One line."""


class LogFiles:
    """`known`: the ids that nodes claim now."""

    def __init__(self, directory: Path, space: Space, known: Callable[[], Set[str]]) -> None:
        self._directory = directory
        self._known = known
        self.shelf = Shelf(space)

    def open(self, wall: WallTime) -> None:
        """Make the directory, find what is there, drop what is too old or too much. Raises OSError."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        found = [segment for log_id in _entries(self._directory, is_log_id) for segment in self._found(log_id)]
        for segment in sorted(found, key=lambda segment: segment.begun):
            self.shelf.put(segment)
        self.clean(wall)

    def _found(self, log_id: str) -> Iterator[Segment]:
        """By names and times alone: nothing is read at the start, however much there is."""
        for name in _entries(self._directory / log_id, _NAME.fullmatch):
            found = (self._directory / log_id / name).lstat()
            begun = int(name[:-4])
            yield Segment(log_id, begun, max(begun, found.st_mtime_ns // 1000 + COARSE), found.st_size)

    def clean(self, wall: WallTime) -> None:
        """Now and then: what has become too old goes also where nobody writes."""
        self._remove(self.shelf.evict(wall, self._known()))

    # --- writing ---------------------------------------------------------------------------------------------

    def append(self, log_id: str, lines: Sequence[Line], wall: WallTime) -> None:
        """Raises NoRoom; then nothing of it is kept."""
        stamp = self.shelf.stamp(wall)
        frame = write_frame(stamp, lines)
        try:
            if _free(self._directory) < limits.MIN_FREE:
                raise NoRoom(f"less than {limits.MIN_FREE >> 20} MiB are free in {self._directory}")
            segment, new = self.shelf.place(log_id, stamp, len(frame))
            self._write(segment, frame, new=new)
        except OSError as error:
            raise NoRoom(f"cannot write in {self._directory}: {error.strerror}") from None
        self.shelf.grew(segment, stamp, len(frame))
        self._remove(self.shelf.evict(wall, self._known(), wrote=log_id))

    def _write(self, segment: Segment, frame: bytes, *, new: bool) -> None:
        path = self._path(segment)
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        if new:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._complete(segment.log_id)
            flags |= os.O_CREAT | os.O_EXCL
        descriptor = os.open(path, flags, 0o600)
        try:
            written = os.write(descriptor, frame)
            if written < len(frame):
                written += os.write(descriptor, frame[written:])
            if written < len(frame):
                raise OSError(28, "No space left on device")
        except OSError:
            segment.open = False
            _take_back(descriptor, path, segment.size)
            raise
        finally:
            os.close(descriptor)

    def _complete(self, log_id: str) -> None:
        """The segment before a new one is synced."""
        row = self.shelf.rows.get(log_id)
        if row and row[-1].open:
            row[-1].open = False
            with suppress(OSError), _opened(self._path(row[-1])) as file:
                os.fsync(file.fileno())

    def _remove(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            path = self._path(segment)
            try:
                path.unlink(missing_ok=True)
                if segment.log_id not in self.shelf.rows:
                    path.parent.rmdir()
            except OSError as error:
                log.error("an outdated log file stays: %s: %s", path, error.strerror)

    def _path(self, segment: Segment) -> Path:
        return self._directory / segment.log_id / segment.name

    # --- reading ---------------------------------------------------------------------------------------------

    def read(self, after: int, log_ids: Sequence[str] | None) -> Iterator[tuple[int, str, list[Line]]]:
        """(stamp, id, lines) of each frame behind `after`, by stamp. In memory are one frame, and of each id where its
        next one lies."""
        rows: dict[str, list[Segment]] = {}
        for segment in self.shelf.after(after, log_ids):
            rows.setdefault(segment.log_id, []).append(segment)
        streams = (self._heads(segments, after) for segments in rows.values())
        for head, segment in heapq.merge(*streams, key=lambda pair: pair[0].stamp):
            lines = self._lines(segment, head)
            if lines:
                yield head.stamp, segment.log_id, lines

    def _heads(self, segments: list[Segment], after: int) -> Iterator[tuple[FrameHead, Segment]]:
        for segment in segments:
            head = self._next(segment, segment.begin(after), after)
            while head is not None:
                yield head, segment
                head = self._next(segment, head.end, after)

    def _next(self, segment: Segment, at: int, after: int) -> FrameHead | None:
        """The first frame at `at` or behind it that is later than `after`."""
        try:
            with _opened(self._path(segment)) as file:
                while head := read_head(os.pread(file.fileno(), HEAD_SIZE, at), at):
                    if head.stamp > after:
                        return head
                    segment.mark(head.stamp, at)
                    at = head.end
        except OSError:
            return None
        return None

    def _lines(self, segment: Segment, head: FrameHead) -> list[Line]:
        try:
            with _opened(self._path(segment)) as file:
                return read_frame(os.pread(file.fileno(), head.end - head.start, head.start))
        except (OSError, Malformed) as error:
            log.error("a part of %s cannot be read: %s", self._path(segment), error)
            return []


def _entries(directory: Path, wanted: Callable[[str], object]) -> list[str]:
    return sorted(name for name in os.listdir(directory) if wanted(name))  # noqa: PTH208


def _opened(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)


def _free(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _take_back(descriptor: int, path: Path, size: int) -> None:
    """Half a frame would hide what comes after it."""
    with suppress(OSError):
        os.ftruncate(descriptor, size)
        if size == 0:
            path.unlink()
            path.parent.rmdir()
