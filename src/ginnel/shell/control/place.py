"""Where the server keeps its things, for the server and for the commands that talk to it.

Room: shell. Imports little: `ginnel nodes list` starts through here.
"""

from __future__ import annotations

import os
from pathlib import Path

ADMIN_SOCKET = "admin.sock"
NOISE_KEY = "noise_private.key"
ALLOWLIST = "allowlist.json"
ALLOWLIST_KEY = "allowlist_private.key"
DATABASE = "ginnel.db"
LOCK = "lock"
LOGS = "logs"
SPLICE_SOCKET = "splice.sock"


def default_state() -> str:
    if os.geteuid() == 0:
        return "/var/lib/ginnel-server"
    return str(Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ginnel-server")
