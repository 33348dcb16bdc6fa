"""How the registry and the fleet say no.

Room: core.
"""

from __future__ import annotations


class Refused(Exception):
    """What was asked for is against a rule; the text is one line for the person who asked."""
