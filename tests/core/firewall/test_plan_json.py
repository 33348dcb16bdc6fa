import json

from ginnel.core.firewall.plan import plan
from ginnel.core.firewall.plan_json import host_json, plan_json
from ginnel.core.firewall.spec import spec_json
from tests.core.firewall.maps import derp_map, node, region
from tests.core.firewall.test_plan import facts

RELAYS = derp_map(region(7, node(7, ipv4="192.0.2.1", ipv6="2001:db8::1", can_port80=True), code="fra"))


def test_a_need_as_json() -> None:
    made = plan_json(plan(facts(RELAYS)))
    assert (made["schema"], made["profile"], made["source"], made["refresh_by"]) == (
        1,
        "recommended",
        "the daemon",
        None,
    )
    tunnel = made["needs"][1]
    words = ("why", "breaks", "looks_like")
    assert {key: value for key, value in tunnel.items() if key not in words} == {
        "id": "tunnel", "direction": "out", "protocol": "udp", "source_port": 41641, "port": "any", "to": "any",
        "families": ["IPv4", "IPv6"], "optional": False,
    }  # fmt: skip
    assert all(tunnel[word] for word in words)


def test_a_pinned_need_names_its_hosts_in_json() -> None:
    made = plan_json(plan(facts(RELAYS), "pinned"))
    assert made["needs"][0]["to"] == ["vpn.example.com", "derp7-all.relays.example.com", "derp7a.relays.example.com"]
    assert made["refresh_by"] == "2026-01-31"
    assert made["warnings"][0].startswith("Pinned destinations")


def test_a_host_without_a_name_is_named_by_its_address() -> None:
    made = plan_json(plan(facts(derp_map(region(7, node(7, host_name="192.0.2.9")))), "pinned"))
    assert made["needs"][0]["to"] == ["vpn.example.com", "192.0.2.9"]


def test_a_host_as_json() -> None:
    relay = host_json(facts(RELAYS).hosts[-1])
    assert relay["needed_for"].endswith("region 7")
    assert {**relay, "needed_for": "", "breaks": ""} == {
        "name": "derp7a.relays.example.com", "level": "SNI", "role": "relay",
        "ports": ["443/tcp", "3478/udp", "80/tcp"], "ipv4": ["192.0.2.1"],
        "ipv6": ["2001:db8::1"], "stability": "fast", "region": 7, "region_code": "fra",
        "node": "7a", "needed_for": "", "breaks": "",
    }  # fmt: skip
    own = host_json(facts(RELAYS).hosts[0])
    assert (own["region"], own["region_code"], own["node"], own["stability"]) == (None, None, None, "slow")


def test_the_spec_is_one_document_with_both_plans_and_all_hosts() -> None:
    made = json.loads(json.dumps(spec_json(facts(RELAYS, problems=("odd",)), "ginnel 1.2.3")))
    assert {key: made[key] for key in ("schema", "program", "made", "source", "tunnel_port", "problems")} == {
        "schema": 1, "program": "ginnel 1.2.3", "made": "2026-01-01T12:00:00Z", "source": "the daemon",
        "tunnel_port": 41641, "problems": ["odd"],
    }  # fmt: skip
    assert [plan["profile"] for plan in made["plans"].values()] == ["recommended", "pinned"]
    assert {host["level"] for host in made["hosts"]} == set(made["levels"])
    assert {host["stability"] for host in made["hosts"]} == set(made["stabilities"])
    assert spec_json(facts(randomize=True), "")["tunnel_port"] is None
