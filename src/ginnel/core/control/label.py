"""A DNS label that an admin chose.

Room: core.
"""

from __future__ import annotations

import re

from ginnel.core.control.registry import Refused

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def checked_label(text: str) -> str:
    """Lower-cased. Raises Refused."""
    label = text.lower()
    if not _LABEL.fullmatch(label):
        raise Refused(f"{text!r} is not a name for a node: 1 to 63 letters, digits and inner hyphens")
    return label
