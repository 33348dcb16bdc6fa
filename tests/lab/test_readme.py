"""README's commands, run as they stand there: the server and two machines behind NATs of their own.

Only the server's address and the invite are put in; a command that no step here knows fails.
"""

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER, network
from ginnel.lab.members import program, surroundings
from ginnel.lab.processes import Process, until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS, INVITE = "203.0.113.10", "ginnel-invite1:..."
PROGRAMS = {"ginnel": "main", "ginneld": "ginneld"}
LIMIT = 60.0
FIRST, SECOND = "laptop", "desktop"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def commands() -> list[str]:
    """Every line of the sh blocks, in order, without its comment."""
    lines = [line.partition(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def mentioned() -> list[str]:
    """Commands within sentences."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S)
    return [code for code in re.findall(r"`([^`\n]+)`", prose) if code.split()[0] in (*PROGRAMS, "tailscale", "make")]


class Tour:
    """The machines, and what was printed on them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.printed: dict[str, str] = {}
        self.invites: list[str] = []
        self.joining = FIRST

    def start(self, host: str, command: str) -> Process:
        filled = command.replace(ADDRESS, self.lab.addresses[SERVER])
        if INVITE in filled:
            filled = filled.replace(INVITE, self.invites.pop(0))
        name, *arguments = shlex.split(filled.removesuffix(" &"))
        log = f"{len(self.lab.processes)}-{name}"
        return self.lab.start(host, log, [*program(PROGRAMS[name]), *arguments], surroundings())

    def run(self, host: str, command: str) -> str:
        process = self.start(host, command)
        assert process.wait(LIMIT) == 0, f"{command}: {process.said()}"
        self.printed[command] = process.said_now()
        return self.printed[command]

    # --- the steps ---------------------------------------------------------------------------------------------

    def serve(self, command: str) -> None:
        said = self.start(SERVER, command).wait_for_line(r"^ +ginnel up --invite (ginnel-invite1:\S+)$", LIMIT)
        self.invites.append(said[1])

    def daemon(self, command: str) -> None:
        self.start(FIRST, command)
        self.start(SECOND, command)

    def join(self, command: str) -> None:
        """At once after the daemon was started, as one who pastes both lines does."""
        assert self.run(self.joining, command).endswith("Success.\n")
        self.joining = SECOND

    def invite(self, command: str) -> None:
        self.invites.append(self.run(SERVER, command).strip())
        self.join(f"ginnel up --invite {INVITE}")
        until(lambda: SECOND in self.run(FIRST, "ginnel status") or None, LIMIT, f"{FIRST} to see {SECOND}")

    def ping(self, command: str) -> None:
        assert re.search(r" via [0-9.]+:41641 in \d+ms$", self.run(FIRST, command), re.M)

    def status(self, command: str) -> None:
        assert "active; direct" in self.run(FIRST, command)

    def path(self, command: str) -> None:
        assert re.search(r"^desktop: (auto|direct); direct [0-9.]+:41641, ", self.run(FIRST, command), re.M)

    def netcheck(self, command: str) -> None:
        assert re.search(r"UDP: true$", self.run(FIRST, command), re.M)

    def speedtest(self, command: str) -> None:
        self.start(SECOND, "ginnel speedtest --server").wait_for_line(r"listening on ", LIMIT)
        assert "Path: direct " in self.run(FIRST, command)

    def docs(self, command: str) -> None:
        assert self.run(FIRST, command).startswith("# ")

    def down(self, command: str) -> None:
        self.run(FIRST, command)

    def up(self, command: str) -> None:
        assert self.run(FIRST, command).endswith("Success.\n")

    def doctor(self, command: str) -> None:
        assert self.run(FIRST, command).startswith("healthy: ")

    def firewall(self, command: str) -> None:
        """From the running daemon, without another word."""
        assert re.search(r"\b443\b", self.run(FIRST, command))

    def portmap(self, command: str) -> None:
        """The laboratory's ordinary router maps nothing, and that is said."""
        process = self.start(FIRST, command)
        assert process.wait(LIMIT) == 1
        self.printed[command] = process.said()
        assert self.printed[command].startswith("no port is mapped: the router ")


def elsewhere(tour: Tour, command: str) -> None:
    """Make targets, whose existence is asked below, and the lab within the lab; CI, test_demo, test_standing and
    test_matrix show what they do."""


STEPS: dict[str, Callable[[Tour, str], None]] = {
    "make demo": elsewhere,
    "make test": elsewhere,
    "make setup": elsewhere,
    'export PATH="$PWD/.venv/bin:$PATH"': elsewhere,
    f"ginnel server run --url https://{ADDRESS}": Tour.serve,
    "ginneld &": Tour.daemon,
    f"ginnel up --invite {INVITE}": Tour.join,
    "ginnel server invite": Tour.invite,
    f"ginnel ping {SECOND}": Tour.ping,
    "ginnel status": Tour.status,
    "ginnel path": Tour.path,
    f"ginnel path {SECOND} direct": Tour.path,
    f"ginnel path {SECOND} default": Tour.path,
    "ginnel debug portmap": Tour.portmap,
    "ginnel up --no-port-mapping": Tour.up,
    "ginnel lab up easy-easy": elsewhere,
    "ginnel lab exec easy-easy alice -- ginnel ping bob": elsewhere,
    "ginnel lab down easy-easy": elsewhere,
    "ginnel lab matrix --kinds easy,hard-random": elsewhere,
    "ginnel lab list": elsewhere,
    "ginnel netcheck": Tour.netcheck,
    f"ginnel doctor {SECOND}": Tour.doctor,
    "ginnel firewall plan": Tour.firewall,
    "ginnel firewall rules --format nftables": Tour.firewall,
    "ginnel firewall allowlist": Tour.firewall,
    f"ginnel speedtest {SECOND}": Tour.speedtest,
    "ginnel docs nat": Tour.docs,
    "ginnel down": Tour.down,
    "ginnel up": Tour.up,
}


@pytest.mark.parametrize("command", [*commands(), *mentioned()])
def test_each_command_is_known_here(command: str) -> None:
    assert command in STEPS


def test_the_make_targets_and_programs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {command.split()[1] for command in commands() if command.startswith("make ")}
    assert targets == {"demo", "test", "setup"}
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    assert "VENV := .venv\n" in makefile
    assert set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]) == set(PROGRAMS)


def test_the_files_it_leads_to_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        path, _, heading = link.partition("#")
        text = (ROOT / path).read_text()
        assert not heading or heading in [line.strip("# ").lower().replace(" ", "-") for line in text.splitlines()]


@pytest.fixture(scope="module")
def tour() -> Iterator[Tour]:
    with Lab(network(**{FIRST: "easy", SECOND: "easy"})) as lab:
        taken = Tour(lab)
        for command in [*commands(), *mentioned()]:
            STEPS[command](taken, command)
        yield taken


@pytest.mark.root
def test_the_tour_can_be_taken(tour: Tour) -> None:
    assert set(tour.printed) >= {command for command, step in STEPS.items() if step not in (elsewhere, Tour.serve)} - {
        "ginneld &"
    }


@pytest.mark.root
def test_what_it_shows_is_what_is_printed(tour: Tour) -> None:
    """The sample's lines, whatever the numbers; how often the ping went by the relay first is chance."""
    printed = {shape(line) for command in ("ginnel ping desktop", "ginnel status") for line in lines(tour, command)}
    (sample,) = blocks("text")
    sampled = {shape(line) for line in sample.splitlines() if line}
    assert len(sampled) == 4
    assert sampled - printed <= {"pong from desktop (0.0.0.0) via DERP(own) in 0ms"}


def lines(tour: Tour, command: str) -> list[str]:
    return tour.printed[command].splitlines()


def shape(line: str) -> str:
    return re.sub(r"\d+", "0", line.strip())
