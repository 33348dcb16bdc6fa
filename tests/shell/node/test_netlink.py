"""The netlink socket; what is said over it is tested in test_router.py and test_links.py."""

import errno
import os
import subprocess
import sys

import pytest

from ginnel.shell.node.netlink import BATCH, Netlink
from ginnel.wire import rtnetlink as rt
from ginnel.wire.rtnetlink import Kind

IMPORTS = "import sys, ginnel.shell.node.daemon; print(*sys.modules)"


def test_a_daemon_loads_no_netlink_library() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if "pyroute2" in name] == []


def test_each_request_of_many_batches_has_its_own_answer() -> None:
    nowhere = rt.link_up(2**30)
    with Netlink() as netlink:
        errors = netlink.perform([(Kind.NEW_LINK, 0, nowhere)] * (2 * BATCH + 1))
    refused = errno.ENODEV if os.geteuid() == 0 else errno.EPERM
    assert errors == [refused] * (2 * BATCH + 1)


def test_a_dump_that_the_kernel_refuses_is_an_error_and_an_absent_table_is_empty() -> None:
    with Netlink() as netlink:
        assert list(netlink.dump(Kind.GET_ROUTE, rt.every_route(rt.AF_INET, 51234))) == []
        with pytest.raises(OSError, match="Invalid argument"):
            netlink.dump(Kind.GET_ADDRESS, rt.ADDRESS.pack(rt.AF_UNSPEC, 32, 0, 0, 0))
        assert any(rt.parse_link(body).name == "lo" for body in netlink.dump(Kind.GET_LINK, rt.every_link()))
