"""The numbers: served, and written for a collector."""

from collections.abc import Collection
from pathlib import Path

import pytest

from ginnel.core.firewall.sync import Sync
from ginnel.core.firewall.sync_words import Answer, Listing, Question, Saved, Settings, Wanted
from ginnel.shell.firewall.sets.command import CommandSet
from ginnel.shell.firewall.sync_audit import Audit
from ginnel.shell.firewall.sync_dns import DnsError
from ginnel.shell.firewall.sync_drive import Keeper, Pretended
from ginnel.shell.firewall.sync_metrics import MetricsError, address_of, serving, text_of, write
from ginnel.shell.node.web import fetch
from ginnel.words import Instant, IpAddress


class Fixed:
    """A list of one name, and a DNS that fails."""

    problems = ()

    async def listing(self, last_serial: int) -> Listing:
        return Listing((Wanted("derp1a.example.com", ask=(4,)),))

    async def ask(self, question: Question) -> Answer:
        raise DnsError("SERVFAIL")


class Nothing(CommandSet):
    async def read(self) -> frozenset[IpAddress]:
        return frozenset()

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        raise AssertionError("there is nothing to change")


def keeper() -> Keeper:
    target = Pretended(Nothing(("/bin/true",)))
    machine = Sync(Settings(), Saved(), 0.0, Instant(0.0))
    return Keeper(machine, target, Fixed(), Fixed().ask, target, Audit(None, "", ""), lambda told: None)


async def test_numbers_are_served_to_prometheus() -> None:
    kept = keeper()
    await kept.once()
    async with serving(kept, "127.0.0.1", 0) as port:
        page = await fetch("GET", f"http://127.0.0.1:{port}/metrics", mark=0)
        with pytest.raises(MetricsError, match=str(port)):
            async with serving(kept, "127.0.0.1", port):
                pytest.fail("the port is taken")
    text = page.body.decode()
    assert "ginnel_firewall_sync_questions_failing 1.0" in text
    assert "ginnel_firewall_sync_dns_failed_total 1.0" in text
    assert "ginnel_firewall_sync_list_heard_time " in text


def test_a_file_is_replaced_whole_and_may_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "ginnel.prom"
    write(path, text_of(keeper())())
    write(path, b"x 1\n")
    assert path.read_bytes() == b"x 1\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["ginnel.prom"]
    with pytest.raises(MetricsError, match="No such file"):
        write(tmp_path / "no" / "x", b"")


def test_what_is_an_address_and_what_is_a_file() -> None:
    assert address_of("9105") == ("127.0.0.1", 9105)
    assert address_of("192.0.2.1:9105") == ("192.0.2.1", 9105)
    assert address_of("[::1]:9105") == ("::1", 9105)
    assert address_of("/var/lib/node_exporter/ginnel.prom") is None
    assert address_of("host.example.com:9105") is None
    for wrong in ("99999", "127.0.0.1:65536", "9" * 5000):
        with pytest.raises(MetricsError, match="there is no port"):
            address_of(wrong)
