"""Nothing that lets anybody in leaves this machine in a log line, whatever wrote it.

Room: core. The second of two nets: keys and tokens have no repr that shows them, and are logged nowhere.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"
_SECRET = re.compile(
    r"\bprivkey:[0-9a-fA-F]+"
    r"|\b(?:gkey|grelay|tskey|hskey)-[\w-]+"
    r"|\bginnel-(?:invite|relay)\w*:[\w-]+"
    r"|(?<=\w)/(?:register|a)/[0-9A-Za-z]{8,}"
    r"|(?<=://)[^/\s@]+:[^/\s@]+(?=@)"
    r"|(?<![0-9a-fA-F:])[0-9a-fA-F]{64}(?![0-9a-fA-F])"
)
"""Private keys; pre-auth keys of ours, Tailscale's and headscale's; invites and relays' tokens; login pages; passwords
in URLs; 32 bytes in hex that no prefix (nodekey:, mkey:, discokey:, sha256-raw:) says to be public."""


def without_secrets(text: str) -> str:
    return _SECRET.sub(HIDDEN, text)
