"""The zone as text; dnspython and Debian's knot load it."""

import shutil
import subprocess

import dns.zone
import pytest

from ginnel.core.relaydns.zone import zone_of
from ginnel.core.relaydns.zonefile import zone_file, zone_json
from tests.core.relaydns.relay_names import SETTINGS, ZONE, both, derp_map, node, region, relays, zone


def test_dnspython_reads_what_was_written():
    text = zone_file(zone(relays(1, 3), relays(40, 1), serial=2026))
    loaded = dns.zone.from_text(text, ZONE)
    assert loaded.find_soa() if hasattr(loaded, "find_soa") else True
    assert loaded.find_rdataset("@", "SOA")[0].serial == 2026
    assert sorted(str(r) for r in loaded.find_rdataset("derp1-all", "A")) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert len(loaded.find_rdataset("derp40-all", "AAAA")) == 1
    assert sorted(map(str, loaded.find_rdataset("@", "NS"))) == ["ns1", "ns2.example.net."]


def test_knot_loads_it(tmp_path):
    checker = shutil.which("kzonecheck")
    assert checker, "Debian package knot-dnssecutils is missing: scripts/system-packages installs it"
    path = tmp_path / f"{ZONE}.zone"
    path.write_text(zone_file(zone(relays(1, 30), relays(40, 1))))
    checked = subprocess.run([checker, "-o", ZONE, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    path.write_text(path.read_text().replace("IN\tSOA", "IN\tTXT"))
    assert (
        subprocess.run([checker, "-o", ZONE, str(path)], capture_output=True, timeout=60, check=False).returncode != 0
    )


def test_what_is_not_known_is_a_comment():
    half = zone_of(derp_map(region(1, both("1a", 1), node("1b"))), SETTINGS).numbered(1)
    assert "; derp1b.relays.example.com. AAAA: not all addresses are known now" in zone_file(half)
    dns.zone.from_text(zone_file(half), ZONE)


def test_a_problem_in_the_map_cannot_write_lines_of_its_own():
    evil = zone_of(derp_map(region(1, node("x\nevil A 192.0.2.1", host="a b\nevil2"))), SETTINGS).numbered(1)
    assert not [line for line in zone_file(evil).splitlines() if line.startswith("evil")]


def test_json_says_each_record():
    told = zone_json(zone(relays(1, 2), serial=5))
    assert (told["zone"], told["serial"], told["incomplete"]) == (ZONE + ".", 5, [])
    assert told["records"][0]["type"] == "SOA"
    found = [record for record in told["records"] if record["name"] == f"derp1-all.{ZONE}."]
    assert {(record["type"], record["data"]) for record in found} == {
        ("A", "192.0.2.1"), ("A", "192.0.2.2"), ("AAAA", "2001:db8::1"), ("AAAA", "2001:db8::2"),
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 60])
def test_there_is_one_line_for_each_record(count):
    text = zone_file(zone(relays(1, count)))
    assert sum("\tIN\t" in line for line in text.splitlines()) == 1 + 2 + 2 + 4 * count
