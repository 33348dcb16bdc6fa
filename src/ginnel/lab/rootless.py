"""A lab without root, where the system allows an unprivileged user namespace.

Room: lab.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

from ginnel.lab import LabError
from ginnel.lab.namespace import NAMED, called, libc

AGAIN_MARK = "GINNEL_LAB_OWN_ROOT"
UNSHARE = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
ADVICE = "run it with sudo, or allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0"


def as_root_of_our_own(argv: list[str]) -> NoReturn:
    """Replace this process by `argv` as root of a fresh user namespace. LabError where that is not allowed."""
    if os.environ.get(AGAIN_MARK):
        raise LabError(f"a user namespace was made, but not as its root; {ADVICE}")
    if shutil.which("unshare") is None:
        raise LabError("needs root, or unshare (util-linux): run it with sudo")
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = (tried.stderr.strip() or "refused").splitlines()[0]
        raise LabError(f"needs root, and this system allows no user namespace ({reason}); {ADVICE}")
    os.execvpe(UNSHARE[0], [*UNSHARE, "--", *argv], {**os.environ, AGAIN_MARK: "1"})  # noqa: S606


def settle_in() -> None:
    """A /run that is ours to write, for names of namespaces and labs; nobody else sees it, and it ends with us."""
    called(libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, None), "mount a tmpfs on /run")
    Path(NAMED).mkdir(parents=True, exist_ok=True)
