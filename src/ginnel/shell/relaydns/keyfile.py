"""A TSIG key out of its file: as BIND's `tsig-keygen` or knot's `keymgr -t` writes it, or `algorithm:name:secret`.

Room: shell.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from pathlib import Path

from ginnel.wire.dns import name_of
from ginnel.wire.read import WireError
from ginnel.wire.tsig import TsigKey

MAX_FILE = 4096
_BIND = re.compile(
    r"""key\s+"?(?P<name>[^\s"{]+)"?\s*\{\s*
    (?:algorithm\s+"?(?P<algorithm>[\w-]+)"?\s*;\s*|secret\s+"?(?P<secret>[A-Za-z0-9+/=]+)"?\s*;\s*){2}\}\s*;?""",
    re.VERBOSE,
)
_KNOT = re.compile(
    r"""(?:key:\s+)?-\s+id:\s+"?(?P<name>[^\s"]+)"?\s+
    algorithm:\s+(?P<algorithm>[\w-]+)\s+secret:\s+"?(?P<secret>[A-Za-z0-9+/=]+)"?""",
    re.VERBOSE,
)
_LINE = re.compile(r"(?P<algorithm>[\w-]+):(?P<name>[^\s:]+):(?P<secret>[A-Za-z0-9+/=]+)")
_COMMENT = re.compile(r"^\s*(#|//).*$", re.MULTILINE)


class RelayDnsError(Exception):
    """The relays' DNS cannot start; one line that says what to do."""


def read_key_file(path: Path) -> TsigKey:
    """Raises RelayDnsError, which holds nothing of the file."""
    text = _COMMENT.sub("", _private_text(path)).strip()
    found = _BIND.fullmatch(text) or _KNOT.fullmatch(text) or _LINE.fullmatch(text)
    if found is None or not found["algorithm"] or not found["secret"]:
        raise RelayDnsError(f"{path} is no TSIG key: make one by tsig-keygen, or write hmac-sha256:NAME:BASE64")
    try:
        secret = base64.b64decode(found["secret"], validate=True)
        return TsigKey(name_of(found["name"]).lower(), found["algorithm"].lower(), secret)
    except binascii.Error:
        raise RelayDnsError(f"{path}: the secret is not base64") from None
    except WireError as error:
        raise RelayDnsError(f"{path}: {error}") from None


def _private_text(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise RelayDnsError(f"the key {path} is not a file")
            if found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
                raise RelayDnsError(f"others can read or write the key {path}: chmod 600 it, and make it this user's")
            return file.read(MAX_FILE).decode()
    except OSError as error:
        raise RelayDnsError(f"cannot read the key {path}: {error.strerror}; check its path and owner") from None
    except UnicodeDecodeError:
        raise RelayDnsError(f"{path} is no TSIG key: it is not text") from None
