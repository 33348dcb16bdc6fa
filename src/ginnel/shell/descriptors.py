"""How many files and sockets this process may have open.

Room: shell.
"""

from __future__ import annotations

import resource


def allow_descriptors() -> int:
    """Raise the soft limit, 1,024 on most systems, to the hard one: each node is a connection. Gives what holds now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return allowed_descriptors()


def allowed_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
