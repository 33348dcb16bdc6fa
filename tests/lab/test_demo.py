import os
import subprocess
import sys
from pathlib import Path

import pytest

from ginnel.lab import LabError, rootless
from ginnel.lab.members import surroundings


def test_without_root_and_user_namespaces_it_is_one_line(monkeypatch):
    refused = subprocess.CompletedProcess([], 1, "", "unshare: unshare failed: Operation not permitted\n")
    monkeypatch.setattr(rootless.subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(LabError) as error:
        rootless.as_root_of_our_own(["true"])
    assert str(error.value).startswith("needs root, and this system allows no user namespace (unshare: unshare failed")
    assert "\n" not in str(error.value)


def test_a_user_namespace_that_does_not_make_root_is_not_tried_for_ever(monkeypatch):
    monkeypatch.setenv(rootless.AGAIN_MARK, "1")
    with pytest.raises(LabError, match="not as its root"):
        rootless.as_root_of_our_own(["true"])


PROBE = "from ginnel.lab.rootless import settle_in; settle_in(); from ginnel.cli.main import main; main()"


@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
def test_networks_stand_in_a_user_namespace_too():
    """`leaves_nothing` holds for the machine: what is built there is not to be seen from here. An ordinary user's PATH
    on Debian leaves out where nft is."""
    tried = subprocess.run([*rootless.UNSHARE, "true"], check=False, capture_output=True)
    if tried.returncode:
        pytest.skip("this system allows no user namespace")
    argv = [*rootless.UNSHARE, "--", sys.executable, "-c", PROBE, "lab", "probe", "easy", "hard-random"]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": "/usr/bin:/bin"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["ok", "ok"]


IN_A_CHROOT = """
import os, subprocess, sys
from pathlib import Path
from ginnel.lab.namespace import CLONE_NEWNS, MS_PRIVATE, MS_REC, called, libc, mount
called(libc.unshare(CLONE_NEWNS), "unshare")
called(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "private")
root = Path(sys.argv[1])
for entry in Path("/").iterdir():
    if entry.is_symlink():
        (root / entry.name).symlink_to(entry.readlink())
    elif entry.is_dir() and entry.name != "run":
        (root / entry.name).mkdir()
        mount(entry, root / entry.name)
(root / "run").mkdir()
os.chroot(root)
os.chdir("/")
from ginnel.cli.main import main
sys.argv[1:] = sys.argv[2:]
main()
"""


@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
def test_networks_stand_in_a_chroot_too(tmp_path: Path):
    """Its / is no mount, which `mount --make-private` wants."""
    argv = [sys.executable, "-c", IN_A_CHROOT, str(tmp_path), "lab", "probe", "easy", "none"]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, **surroundings()}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["ok", "ok"]
