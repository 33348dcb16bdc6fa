"""Forks `ginnel` with the arguments of each line that it reads, and prints the child's process id."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import ginnel.cli.firewall_sync
import ginnel.shell.firewall.sync_run  # noqa: F401  (loaded once, for all)
from ginnel.cli.commands import ginnel as command
from ginnel.shell.firewall.sets import kinds  # noqa: F401


def main(log: Path) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are killed
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            become(json.loads(line), log)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def become(words: list[str], log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        command(words, standalone_mode=True)
    except SystemExit:
        os._exit(1)
    except Exception:  # noqa: BLE001  (told, and the process ends)
        traceback.print_exc()
        os._exit(2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
