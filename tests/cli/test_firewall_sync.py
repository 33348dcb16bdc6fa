"""`ginnel firewall sync`, with a set that a program of the test keeps in a file, and with a map in a file."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ginnel.cli.commands import ginnel
from ginnel.shell.firewall.sync_state_file import boot_clock, read, write
from tests.shell.firewall.sets.test_words import SCRIPT

DEAD_DNS = "127.0.0.1:1"  # refuses
PATIENCE = 30.0


def relays(*addresses: str) -> str:
    nodes = [
        {"Name": f"1{chr(97 + n)}", "RegionID": 1, "HostName": f"relay{n}.example.com", "IPv4": address, "IPv6": "none"}
        for n, address in enumerate(addresses)
    ]
    return json.dumps({"Regions": {"1": {"RegionID": 1, "RegionCode": "r", "RegionName": "R", "Nodes": nodes}}})


@dataclass
class Bench:
    directory: Path

    def __post_init__(self) -> None:
        self.script, self.place, self.map = (self.directory / name for name in ("keep", "held", "map"))
        self.script.write_text(SCRIPT)
        self.script.chmod(0o700)
        self.map.write_text(relays("203.0.113.1", "203.0.113.2"))

    def words(self, *more: str) -> list[str]:
        return [
            "firewall", "sync", "--backend", "command", "--set", json.dumps([str(self.script), str(self.place)]),
            "--derp-map", str(self.map), "--dns", DEAD_DNS, "--state", str(self.directory / "state"), *more,
        ]  # fmt: skip

    def run(self, *more: str) -> Result:
        return CliRunner().invoke(ginnel, self.words(*more))

    def held(self) -> list[str]:
        return json.loads(self.place.read_text()) if self.place.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_set_is_filled_and_each_change_is_told_and_logged(bench: Bench) -> None:
    audit, metrics = bench.directory / "audit", bench.directory / "numbers"
    result = bench.run("--audit", str(audit), "--metrics", str(metrics))
    assert result.exit_code == 0, result.output
    assert bench.held() == ["203.0.113.1", "203.0.113.2"]
    assert "added: 203.0.113.1: listed for relay0.example.com" in result.stdout
    assert "2 added, 0 removed; 2 in the set" in result.stdout
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [line["address"] for line in lines] == bench.held()
    assert "ginnel_firewall_sync_addresses_held 2.0" in metrics.read_text()


def test_a_dry_run_changes_nothing_and_keeps_nothing(bench: Bench) -> None:
    result = bench.run("--dry-run", "--json", "--audit", str(bench.directory / "audit"))
    told = json.loads(result.stdout)
    assert told["added"] == ["203.0.113.1", "203.0.113.2"]
    assert told["dry_run"]
    assert told["failing"], "DNS does not answer here"
    assert sorted(path.name for path in bench.directory.iterdir()) == ["keep", "map"]


@pytest.mark.parametrize("text", ["", "{}", '{"Regions":{}}', "garbage"])
def test_a_bad_map_leaves_the_set_as_it_is_and_fails(bench: Bench, text: str) -> None:
    bench.run()
    bench.map.write_text(text)
    result = bench.run()
    assert result.exit_code == 1
    assert bench.held() == ["203.0.113.1", "203.0.113.2"]
    assert "list-failed: " in result.stderr


def test_a_set_that_cannot_be_read_is_told_in_both_forms(bench: Bench) -> None:
    bench.script.write_text("#!/bin/sh\nexit 3\n")
    plain, told = bench.run(), bench.run("--json")
    assert (plain.exit_code, told.exit_code) == (1, 1)
    assert plain.stdout == "0 added, 0 removed; what is in the set is not known\n"
    (why,) = [line for line in plain.stderr.splitlines() if line.startswith("set-failed: ")]
    events = json.loads(told.stdout)["events"]
    assert {"event": "set-failed", "text": why.removeprefix("set-failed: ")} in events


def test_what_is_refused_of_a_map_is_said(bench: Bench) -> None:
    bench.map.write_text(relays("203.0.113.1", "10.1.2.3"))
    plain, told = bench.run(), bench.run("--json")
    (why,) = [line for line in plain.stderr.splitlines() if "10.1.2.3" in line]
    assert why.removeprefix("list-problem: ") in json.loads(told.stdout)["problems"]


def test_an_address_without_a_name_says_so(bench: Bench) -> None:
    bench.map.write_text(relays("203.0.113.1").replace("relay0.example.com", "203.0.113.1"))
    assert "added: 203.0.113.1: listed as an address without a name" in bench.run().stdout


def test_a_set_that_was_emptied_is_filled_from_the_disk_while_nobody_answers(bench: Bench) -> None:
    bench.run()
    bench.place.unlink()
    bench.map.unlink()
    assert bench.run().exit_code == 1
    assert bench.held() == ["203.0.113.1", "203.0.113.2"]


def test_what_left_the_map_goes_by_the_run_after_its_time(bench: Bench) -> None:
    """`--linger 1` is the least, and the state was written 10 s earlier than it was."""
    bench.run("--linger", "1")
    bench.map.write_text(relays("203.0.113.1", "203.0.113.3"))
    bench.run("--linger", "1")
    assert bench.held() == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
    (state,) = (bench.directory / "state").glob("*.json")
    clock = boot_clock()
    saved, _, key = read(state.read_bytes(), clock)
    state.write_bytes(write(saved, key, clock._replace(seconds=clock.seconds - 10)))
    result = bench.run("--linger", "1")
    assert bench.held() == ["203.0.113.1", "203.0.113.3"]
    assert "removed: 203.0.113.2: it is no longer listed" in result.stdout


def test_a_set_that_cannot_be_read_is_one_line_and_exit_1(bench: Bench) -> None:
    bench.script.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    result = bench.run()
    assert result.exit_code == 1
    assert "set-failed: " in result.stderr
    assert "broken" in result.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--backend", "nftables", "--set", "x"], "inet/filter/ginnel4,ginnel6"),
        (["--backend", "nftables", "--set", ""], "needs --set"),
        (["--watch", "--once"], "exclude"),
        (["--watch", "--dry-run"], "leave --watch out"),
        (["--dns", "resolver.example.com"], "--dns"),
        (["--feed", "https://x.example.com/allowlist"], "--feed-key"),
        (["--feed", "x", "--feed-key", "feedkey:00"], "--feed-key"),
        (["--audit", "/nowhere/audit"], "/nowhere/audit"),
        (["--metrics", "/nowhere/numbers"], "/nowhere/numbers"),
    ],
)
def test_what_cannot_be_is_one_line(bench: Bench, more: list[str], says: str) -> None:
    result = bench.run(*more)
    assert result.exit_code == 1
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


async def test_watching_follows_the_map_serves_numbers_and_ends_at_once(bench: Bench) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ginnel.cli.main import main; main()",
        *bench.words("--watch", "--json", "--every", "1", "--metrics", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE, env={**os.environ},
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        assert await told(process.stdout, "added") == "203.0.113.1"
        assert await told(process.stdout, "added") == "203.0.113.2"
        bench.map.write_text(relays("203.0.113.1", "203.0.113.2", "203.0.113.3"))
        assert await told(process.stdout, "added") == "203.0.113.3"
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
    assert bench.held() == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]


async def told(stream: asyncio.StreamReader, event: str) -> str:
    """The address of the next such event."""
    while True:
        line = json.loads(await stream.readline())
        if line["event"] == event:
            return str(line["text"].partition(":")[0])
