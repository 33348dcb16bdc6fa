"""The file of a mesh's hosts."""

from pathlib import Path

import pytest

from ginnel.shell.node.host_memory import HOSTS_KEPT, HostMemory
from ginnel.shell.node.remembered import FILE, Remembered, RememberedFile
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion

URL = "https://c.example"
MAP = DERPMap(regions={1: DERPRegion(1, "a", "A", nodes=[DERPNode("1a", 1, "ra.example", ipv4="192.0.2.80")])})
WHOLE = Remembered(URL, {"c.example": ("192.0.2.1",)}, {"ra.example": ("2001:db8::1",)}, MAP)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    RememberedFile(tmp_path).write(WHOLE)
    assert RememberedFile(tmp_path).read(URL) == WHOLE


def test_of_another_server_nothing_is_read(tmp_path: Path) -> None:
    RememberedFile(tmp_path).write(WHOLE)
    assert RememberedFile(tmp_path).read("https://d.example") == Remembered("https://d.example")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"ControlURL":"https://c.example","Hosts":{"a":["x"]}}'])
def test_a_damaged_file_is_one_that_is_not_there(tmp_path: Path, body: bytes) -> None:
    (tmp_path / FILE).write_bytes(body)
    assert RememberedFile(tmp_path).read(URL) == Remembered(URL)


def test_a_link_or_a_file_that_others_write_is_not_read(tmp_path: Path) -> None:
    RememberedFile(tmp_path).write(WHOLE)
    (tmp_path / FILE).chmod(0o622)
    assert RememberedFile(tmp_path).read(URL) == Remembered(URL)
    (tmp_path / FILE).chmod(0o600)
    (tmp_path / FILE).rename(tmp_path / "elsewhere")
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    assert RememberedFile(tmp_path).read(URL) == Remembered(URL)


def test_a_disk_that_takes_nothing_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    RememberedFile(tmp_path / "missing").write(WHOLE)
    assert "cannot write" in caplog.text


async def test_only_the_hosts_reached_last_are_kept() -> None:
    memory = HostMemory()
    memory.serve(URL)
    for number in range(HOSTS_KEPT + 1):
        memory.reached(f"h{number}.example", ["192.0.2.1"])
    memory.reached("h1.example", ["192.0.2.2"])
    memory.reached("h9.example", ["192.0.2.3"])
    assert [bool(memory.host(f"h{number}.example")) for number in range(5)] == [False, True, False, True, True]
    memory.close()


async def test_relays_that_left_the_map_are_forgotten() -> None:
    memory = HostMemory()
    memory.serve(URL)
    for name in ("ra.example", "rb.example"):
        memory.found_relay(name, ["192.0.2.80"])
    memory.map_changed(MAP)
    assert list(memory.relays()) == ["ra.example"]
    memory.close()
