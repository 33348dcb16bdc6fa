"""A line of somebody's log as one line for a person: it is data, and this is somebody's terminal.

Room: core.
"""

from __future__ import annotations

_SHORT = {"\t": "\t", "\n": "\\n", "\r": "\\r"}


def plain_line(text: str) -> str:
    """Control characters, terminal escapes, directions and invisible ones as escapes that show them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
