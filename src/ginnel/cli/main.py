"""`ginnel`: where it begins.

Room: cli. `status` is what scripts and prompts ask for again and again, within 80 ms of which click's import would take
most; asked for with its own plain flags, it goes without click.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The program. Ends the process where a command does."""
    try:
        _main()
    except KeyboardInterrupt:
        from ginnel.cli.local import interrupted

        interrupted()


def _main() -> None:
    if sys.argv[1:2] == ["status"]:
        from ginnel.cli.status import plain_wish, show

        wish = plain_wish(sys.argv[2:])
        if wish is not None:
            show(wish)
            return
    from ginnel.cli.commands import ginnel

    ginnel()
