"""Argument types: durations as Go writes them.

Room: cli.
"""

from __future__ import annotations

import re

import click

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")


class Seconds(click.ParamType[float, str]):
    """`5s`, `1m30s`, `500ms`, or a plain number of seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        found = _DURATION.fullmatch(text)
        if not text or found is None or not any(found.groups()):
            self.fail(f"expected a duration such as 5s or 1m30s, got {text!r}", param, ctx)
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


SECONDS = Seconds()
