"""nftables: nft loads the file beside a default deny, the jumps are those of its comment, and then it is tried."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Plan
from tests.core.firewall.formats.plans import ANY_PORT, ONLY_IPV4, PINNED, RECOMMENDED, many_regions
from tests.core.firewall.formats.world import (
    FAR,
    World,
    commands,
    everything_passes,
    inside_the_mesh,
    listening,
    program,
    what_gets_in,
    what_passes,
)

pytestmark = pytest.mark.root
NFTABLES = FORMATS["nftables"]


DENY = """
flush ruleset
table inet filter {
  chain output { type filter hook output priority filter; policy drop; counter; }
  chain input { type filter hook input priority filter; policy drop; counter; }
}
"""


def jump(world: World, text: str) -> None:
    world.script(commands(text, "After loading"))


def load(world: World, directory: Path, plan: Plan) -> None:
    """Beside a default deny, checked first, as the comment says."""
    text = NFTABLES.render(plan)
    (directory / "ginnel.nft").write_text(text)
    world.host(program("nft"), "-f", "-", stdin=DENY)
    for check in (["-c"], []):
        world.host(program("nft"), *check, "-f", str(directory / "ginnel.nft"))
    jump(world, text)


@pytest.mark.parametrize("family", [4, 6])
def test_what_the_plan_names_passes_beside_a_default_deny_and_nothing_else(
    two_hosts: World, tmp_path: Path, family: int
) -> None:
    load(two_hosts, tmp_path, RECOMMENDED)
    what_passes(two_hosts, family)
    what_gets_in(two_hosts, family)


def test_a_configuration_that_includes_the_file_and_jumps_lets_the_same_pass(two_hosts: World, tmp_path: Path) -> None:
    (tmp_path / "ginnel.nft").write_text(NFTABLES.render(RECOMMENDED))
    main = DENY.replace("flush ruleset", f'flush ruleset\ninclude "{tmp_path / "ginnel.nft"}"')
    for chain, target in (("output", "ginnel_out"), ("input", "ginnel_in")):
        main = main.replace(
            f"hook {chain} priority filter; policy drop; counter",
            f"hook {chain} priority filter; policy drop; jump {target}",
        )
    (tmp_path / "nftables.conf").write_text(main)
    two_hosts.host(program("nft"), "-f", str(tmp_path / "nftables.conf"))
    what_passes(two_hosts, 4)


def test_what_runs_inside_the_mesh_passes_once_its_lines_are_uncommented(two_hosts: World) -> None:
    text = NFTABLES.render(RECOMMENDED)
    two_hosts.host(program("nft"), "-f", "-", stdin=DENY)
    two_hosts.host(program("nft"), "-f", "-", stdin=inside_the_mesh(text, "eth0"))
    jump(two_hosts, text)
    for family in (4, 6):
        everything_passes(two_hosts, family)


def test_no_line_to_copy_denies_anything() -> None:
    assert "drop;" not in NFTABLES.render(RECOMMENDED)


def test_without_the_rules_nothing_passes(two_hosts: World) -> None:
    two_hosts.host(program("nft"), "-f", "-", stdin=DENY)
    with listening(two_hosts, 443, 4), pytest.raises(OSError, match="timed out"):
        connect(two_hosts, 0.5)


def test_loading_again_changes_nothing_and_forgets_what_was_pinned(two_hosts: World, tmp_path: Path) -> None:
    load(two_hosts, tmp_path, PINNED)
    listed = (program("nft"), "-s", "list", "ruleset")
    once = two_hosts.host(*listed)
    two_hosts.host(program("nft"), "-f", str(tmp_path / "ginnel.nft"))
    jump(two_hosts, NFTABLES.render(PINNED))
    assert two_hosts.host(*listed) == once
    fewer = replace(PINNED, needs=tuple(replace(need, hosts=need.hosts[-1:]) for need in PINNED.needs))
    (tmp_path / "ginnel.nft").write_text(NFTABLES.render(fewer))
    two_hosts.host(program("nft"), "-f", str(tmp_path / "ginnel.nft"))
    assert "203.0.113.99" in two_hosts.host(*listed)
    assert "203.0.113.1" not in two_hosts.host(*listed).replace("203.0.113.1/", "")


OF_THE_USER = """
table inet filter {
  set mine { type ipv4_addr; elements = { 192.0.2.99 } }
  chain forward { type filter hook forward priority filter; policy drop; }
  chain outer { tcp dport 25 drop; }
  chain output { ip daddr @mine drop; jump outer; }
}
table ip nat { chain out { type nat hook postrouting priority srcnat; ip saddr 10.0.0.0/8 masquerade; }; }
"""


@pytest.mark.parametrize("plan", [RECOMMENDED, PINNED], ids=["recommended", "pinned"])
def test_the_users_own_rules_stay_and_what_is_taken_back_leaves_nothing(
    two_hosts: World, tmp_path: Path, plan: Plan
) -> None:
    two_hosts.host(program("nft"), "-f", "-", stdin=DENY + OF_THE_USER)
    before = two_hosts.host(program("nft"), "-s", "list", "ruleset")
    text = NFTABLES.render(plan)
    for _ in range(2):
        two_hosts.host(program("nft"), "-f", "-", stdin=text)
        jump(two_hosts, text)
    beside = two_hosts.host(program("nft"), "-s", "list", "ruleset")
    assert set(before.splitlines()) <= set(beside.splitlines())
    assert [beside.count(f"jump ginnel_{way}") for way in ("out", "in")] == [1, 1]
    two_hosts.script(commands(text, "To take it all back"))
    assert two_hosts.host(program("nft"), "-s", "list", "ruleset") == before


def test_pinned_rules_let_through_to_the_pinned_hosts_alone(two_hosts: World, tmp_path: Path) -> None:
    load(two_hosts, tmp_path, PINNED)
    with listening(two_hosts, 443, 4) as listener:
        with pytest.raises(OSError, match="timed out"):
            connect(two_hosts, 0.5)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        two_hosts.host(program("nft"), "add", "element", "inet", "filter", "ginnel_https_v4", f"{{ {FAR[0]} }}")
        connect(two_hosts, 20.0)


def connect(world: World, patience: float) -> None:
    with world.socket("host", socket.SOCK_STREAM, 0, 4) as client:
        client.settimeout(patience)
        client.connect((FAR[0], 443))


@pytest.mark.parametrize("plan", [PINNED, ANY_PORT, ONLY_IPV4], ids=["pinned", "any port", "only IPv4"])
def test_every_plan_is_loaded(two_hosts: World, tmp_path: Path, plan: Plan) -> None:
    load(two_hosts, tmp_path, plan)


def test_a_map_of_ten_thousand_regions_is_loaded(two_hosts: World, tmp_path: Path) -> None:
    load(two_hosts, tmp_path, many_regions(10_000))
    listed = two_hosts.host(program("nft"), "-j", "list", "set", "inet", "filter", "ginnel_https_v6")
    assert len(json.loads(listed)["nftables"][1]["set"]["elem"]) == 10_000


def test_the_way_in_alone_is_a_chain_of_its_own(two_hosts: World) -> None:
    text = NFTABLES.inbound(RECOMMENDED)
    assert "ginnel_out" not in text
    two_hosts.host(
        program("nft"),
        "-f",
        "-",
        stdin=DENY.replace("output priority filter; policy drop", "output priority filter; policy accept") + text,
    )
    jump(two_hosts, text)
    for family in (4, 6):
        what_gets_in(two_hosts, family)
