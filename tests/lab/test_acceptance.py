"""One line for each section of the firewall FAQ, each tried in one mesh that stands for all of them.

alice and bob are behind hard NATs, carol behind an ordinary home router; alice and carol have a firewall of their own
that lets in only answers. The others have public addresses: dave is direct, erin falls idle, frank is never spoken to,
grace goes away.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ginnel.lab.diagnosis.faults_pairs import private_ufw
from ginnel.lab.diagnosis.world import BOB, World
from ginnel.lab.kinds import NODE_PORT, SERVER, network
from ginnel.lab.processes import until
from ginnel.lab.topology import INTERNET, Topology
from tests.lab.acceptance_world import LIMIT, icmp, knows, run, said, shell, talking, way

pytestmark = pytest.mark.root

HUNDRED_MEGABYTES = 100_000_000
ZONE = "relays.example"
GUARDED = ("alice", "carol")
KINDS = {"alice": "hard-random", "bob": "hard-random", "carol": "easy"}
PUBLIC = ("dave", "erin", "frank", "grace")
ONLY_ANSWERS = ('iifname "eth0" ct state established,related accept', 'iifname "eth0" drop')
VENDORS = ("tailscale.com", "tailscale.io", "ts.net")
SAW = """
add table ip watch
add set ip watch seen { type ipv4_addr; flags dynamic; size 4096; }
add chain ip watch forwarded { type filter hook forward priority -300; }
add rule ip watch forwarded update @seen { ip daddr }
"""


def topology() -> Topology:
    whole = network(**KINDS, **dict.fromkeys(PUBLIC, "none"))
    return Topology(whole.routers, tuple(replace(h, default_deny=h.name in GUARDED) for h in whole.hosts))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    settings = f'[relay_dns]\nzone = "{ZONE}"\n'
    with World(topology(), random.Random(1), ("derp-a", "derp-b", "derp-c"), settings) as standing:
        standing.nft(INTERNET, SAW)
        standing.in_map = ("derp-a", "derp-b")
        standing.start()
        standing.join()
        for peer in KINDS | dict.fromkeys(PUBLIC):
            if peer != "alice":
                until(lambda peer=peer: knows(standing, peer), LIMIT, f"alice to know {peer}")  # type: ignore[misc]
        icmp(standing, "alice", "erin")
        standing.members["grace"].daemon.stop()  # type: ignore[union-attr]
        yield standing


@pytest.fixture
def heals(world: World) -> Iterator[World]:
    """What is blocked at carol's router is open again afterwards."""
    yield world
    world.lab.unblock(world.router("carol"))


def test_1_two_networks_that_let_nothing_in_are_connected_without_a_rule(world: World) -> None:
    rules = {host: shell(world, host, "nft list ruleset") for host in GUARDED}
    for host in GUARDED:
        assert all(line in rules[host] for line in ONLY_ANSWERS)
        assert 'iifname "wan0" drop' in shell(world, world.router(host), "nft list chain ip lab forward")
    assert "pong from" in said(world, "alice", "ping", "-c", "3", "--no-until-direct", "carol")
    icmp(world, "alice", "carol")
    assert {host: shell(world, host, "nft list ruleset") for host in GUARDED} == rules


def test_2_two_hard_nats_are_relayed_and_move_a_hundred_megabytes(world: World) -> None:
    with talking(world, "alice", "bob") as stream:
        stream.send_and_wait(bytes(HUNDRED_MEGABYTES), LIMIT)
        assert stream.intact()
        assert (way(world, "alice", "bob"), way(world, "bob", "alice")) == ("relay", "relay")
        assert " via DERP(fra) in " in said(world, "alice", "ping", "-c", "1", "--no-until-direct", "bob")


def test_5_port_80_is_dropped_and_nothing_else_comes_of_it(heals: World) -> None:
    heals.drop("carol", "tcp dport 80")
    report = said(heals, "carol", "netcheck")
    assert "* UDP: true" in report
    assert "* CaptivePortal" not in report
    assert "portal" not in said(heals, "carol", "status")
    assert "   - captive portal detection unavailable (tcp/80 filtered)\n" in said(heals, "carol", "doctor")
    found = json.loads(said(heals, "carol", "doctor", "--json"))
    causes = {cause["cause"] for cause in found["causes"]}
    assert (found["verdict"], causes) == ("healthy", {"port80-blocked", "host-firewall"})  # it is one of GUARDED
    assert "pong from" in said(heals, "carol", "ping", "-c", "1", "--no-until-direct", "dave")


def test_6_stun_is_dropped_and_relays_still_work(heals: World) -> None:
    heals.drop("carol", "udp dport 3478")
    report = said(heals, "carol", "netcheck")
    assert "* UDP: false" in report
    assert "* Nearest DERP: FRA" in report
    said(heals, "carol", "path", "bob", "relay")
    assert "via DERP(fra)" in said(heals, "carol", "ping", "-c", "1", "--no-until-direct", "bob")
    assert 'relay "fra"' in said(heals, "carol", "status")
    said(heals, "carol", "path", "bob", "default")


def test_7_one_relay_is_dropped_and_the_doctor_names_it(heals: World) -> None:
    assert json.loads(run(heals, "carol", "doctor", "--json").said_now())["verdict"] == "healthy"
    heals.drop("carol", f"ip daddr {heals.lab.addresses['derp-b']}")
    found = json.loads(run(heals, "carol", "doctor", "--json").said_now())
    assert found["verdict"] == "degraded"
    first = found["causes"][0]
    assert first["cause"] == "relay-blocked"
    assert first["about"] == "region nyc (node 911b)"
    assert "derp-b.example" in json.dumps(first)


def test_8_the_map_is_there_for_curl_and_jq(world: World) -> None:
    (certificate,) = (world.lab.directory / SERVER / "state").rglob("*.crt")
    trusted = world.lab.directory / "dave" / "trust.pem"
    trusted.write_bytes(certificate.read_bytes())
    curl = f"curl -sS --cacert {world.lab.inside_path('trust.pem')} {world.server.url}/derpmap/default"
    listed = shell(world, "dave", f"{curl} | jq -r '.Regions[].Nodes[].HostName'").split()
    assert listed == ["derp-a.example", "derp-b.example"]


def test_9_a_regions_name_has_all_its_relays_and_follows_the_map(world: World) -> None:
    assert shell(world, "dave", dig(world, "+short")).split() == [world.lab.addresses["derp-a"]]
    world.put_map("derp-a", "derp-b", "derp-c")
    both = sorted(world.lab.addresses[name] for name in ("derp-a", "derp-c"))
    until(lambda: sorted(shell(world, "dave", dig(world, "+short")).split()) == both or None, LIMIT, "the new relay")
    lives = [int(line.split()[1]) for line in shell(world, "dave", dig(world, "+noall +answer")).splitlines()]
    assert max(lives) <= 300


def dig(world: World, how: str) -> str:
    return f"dig {how} @{world.control_address} A derp910-all.{ZONE}"


def test_10_a_region_that_leaves_the_map_leaves_the_allowlist(world: World) -> None:
    listed = said(world, "dave", "firewall", "allowlist", "--format", "fqdn")
    assert "derp-b.example" in listed
    assert "control.example" in listed
    world.put_map("derp-a", "derp-c")
    until(lambda: omits(world, "derp-b.example"), LIMIT, "the allowlist to omit a region")
    assert "derp-a.example" in said(world, "dave", "firewall", "allowlist", "--format", "fqdn")


def omits(world: World, name: str) -> bool | None:
    return None if name in said(world, "dave", "firewall", "allowlist", "--format", "fqdn") else True


def test_11_ufw_is_opened_by_the_faqs_own_command(world: World) -> None:
    private_ufw(world, "frank")
    assert said(world, "frank", "firewall", "open", "--backend", "ufw", "--dry-run") == "sudo ufw allow 41641/udp\n"
    assert "41641" not in shell(world, "frank", "ufw status")
    assert "   on frank: sudo ufw allow 41641/udp\n" in said(world, "frank", "doctor")
    state = world.lab.inside_path("state")
    said(world, "frank", "firewall", "open", "--backend", "ufw", "--state", state)
    assert re.search(r"^41641/udp +ALLOW +Anywhere *$", shell(world, "frank", "ufw status"), re.MULTILINE)
    assert "41641" not in said(world, "frank", "doctor")
    said(world, "frank", "firewall", "close", "--state", state)
    assert "41641" not in shell(world, "frank", "ufw status")


def test_3_status_has_all_five_forms_in_one_table(world: World) -> None:
    until(lambda: gone(world, "grace"), LIMIT, "grace to be known as offline")
    with talking(world, "alice", "bob"), talking(world, "alice", "dave"):
        until(lambda: way(world, "alice", "dave") == "direct" or None, LIMIT, "alice and dave to be direct")
        until(lambda: idle(world, "erin"), LIMIT + 20, "erin to be idle")
        table = said(world, "alice", "status", "--header")
    found = rows(table)
    assert found.pop("IP carol")  # direct by now, or not
    assert found == {
        "IP Hostname": "Owner OS Status",
        "-- --------": "----- -- ------",
        "IP alice": "default linux -",
        "IP bob": 'default linux active; relay "fra", tx N rx N',
        "IP dave": "default linux active; direct IP:41641, tx N rx N",
        "IP erin": "default linux idle, tx N rx N",
        "IP frank": "default linux -",
        "IP grace": "default linux offline, last seen T ago",
    }


def idle(world: World, peer: str) -> bool | None:
    row = next(r for r in (world.members["alice"].status() or {})["Peer"].values() if r["HostName"] == peer)
    return None if row["Active"] else True


def gone(world: World, peer: str) -> bool | None:
    row = next(r for r in (world.members["alice"].status() or {})["Peer"].values() if r["HostName"] == peer)
    return None if row["Online"] else True


def rows(table: str) -> dict[str, str]:
    """Address and name to the rest, with what differs from run to run masked."""
    found = {}
    for row in table.partition("\n\n")[0].splitlines():
        words = re.sub(r"[0-9]+(\.[0-9]+){3}", "IP", " ".join(row.split()))
        words = re.sub(r"last seen .* ago", "last seen T ago", re.sub(r"([tr]x) [0-9]+", r"\1 N", words))
        address, name, rest = words.split(" ", 2)
        found[f"{address} {name}"] = rest
    return found


def test_4_a_port_that_is_opened_on_one_side_makes_the_pair_direct(world: World) -> None:
    address = world.lab.addresses[BOB]
    with talking(world, "alice", "bob") as stream:
        assert way(world, "alice", "bob") == "relay"
        world.nft(world.router(BOB), f'add rule ip lab pre iifname "wan0" udp dport {NODE_PORT} dnat to {address}\n')
        until(lambda: way(world, "alice", "bob") == way(world, "bob", "alice") == "direct" or None, LIMIT, "direct")
        assert stream.send_and_wait(bytes(1 << 20), LIMIT)


def test_12_nobody_asks_for_or_speaks_to_anybody_else(world: World) -> None:
    asked = {name for resolver in world.resolvers.values() for name in resolver.asked}
    assert asked
    assert not [name for name in asked if name.endswith(VENDORS)]
    listed = json.loads(shell(world, INTERNET, "nft -j list set ip watch seen"))
    spoken_to = {str(entry) for part in listed["nftables"] if "set" in part for entry in part["set"]["elem"]}
    known = {world.lab.addresses[name] for name in world.lab.addresses} | set(world.lab.plan.observer)
    assert world.lab.addresses["derp-a"] in spoken_to
    assert spoken_to <= known
