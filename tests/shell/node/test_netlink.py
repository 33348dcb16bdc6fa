"""Route netlink without the rest of pyroute2."""

import subprocess
import sys

IMPORTS = "import sys, ginnel.shell.node.daemon; print(*sys.modules)"
BOTH = """
import pyroute2
from ginnel.shell.node.netlink import AsyncIPRoute
assert AsyncIPRoute is pyroute2.AsyncIPRoute
"""


def test_a_daemon_does_not_load_what_it_has_no_use_for():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    unused = [name for name in done.stdout.split() if name.startswith(("pyroute2.ndb", "pyroute2.ethtool"))]
    assert unused == []


def test_where_the_whole_is_there_it_is_the_same():
    subprocess.run([sys.executable, "-c", BOTH], check=True)
