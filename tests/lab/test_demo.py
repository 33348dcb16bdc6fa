import os
import subprocess
import sys

import pytest

from ginnel.lab import LabError, rootless


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
    """`leaves_nothing` holds for the machine: what is built there is not to be seen from here."""
    tried = subprocess.run([*rootless.UNSHARE, "true"], check=False, capture_output=True)
    if tried.returncode:
        pytest.skip("this system allows no user namespace")
    argv = [*rootless.UNSHARE, "--", sys.executable, "-c", PROBE, "lab", "probe", "easy", "hard-random"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["ok", "ok"]
