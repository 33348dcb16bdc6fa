"""Which links are paid for by the byte."""

from pathlib import Path

import pytest

from ginnel.shell.node.metered import is_metered


@pytest.mark.parametrize(
    ("name", "uevent", "metered"),
    [
        ("eth0", "INTERFACE=eth0\nIFINDEX=2\n", False),
        ("wlan0", "DEVTYPE=wlan\nINTERFACE=wlan0\n", False),
        ("wwp0s20", "DEVTYPE=wwan\nINTERFACE=wwp0s20\n", True),
        ("ppp0", "INTERFACE=ppp0\n", True),
    ],
)
def test_a_modem_s_interface_is_metered(tmp_path: Path, name: str, uevent: str, metered: bool) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "uevent").write_text(uevent)
    assert is_metered([name], tmp_path) is metered


def test_what_is_gone_or_no_route_at_all_is_not(tmp_path: Path) -> None:
    assert not is_metered(["eth9"], tmp_path)
    assert not is_metered([], tmp_path)
