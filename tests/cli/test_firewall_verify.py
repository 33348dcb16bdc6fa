"""`ginnel firewall verify` without a mesh: what it says, and its exit status."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ginnel.cli.commands import ginnel
from ginnel.cli.firewall_verify import Progress
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, encode


@pytest.fixture
def closed_map(tmp_path: Path) -> str:
    """One relay, where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        at = unused.getsockname()[1]
    node = DERPNode(name="7a", region_id=7, host_name="127.0.0.1", ipv6="none", derp_port=at, stun_port=at)
    region = DERPRegion(region_id=7, region_code="fra", region_name="Frankfurt", nodes=[node])
    (tmp_path / "map.json").write_bytes(encode(DERPMap(regions={7: region})))
    return str(tmp_path / "map.json")


def verify(*arguments: str) -> Result:
    return CliRunner().invoke(ginnel, ["firewall", "verify", *arguments])


def test_a_mesh_that_cannot_be_reached_is_exit_status_1_with_the_reason(closed_map: str) -> None:
    done = verify("--derp-map", closed_map, "--port", "0")
    assert done.exit_code == 1
    assert 'region 7 "fra" (node 7a) blocked (refused): no machine has its home there now' in done.stdout
    assert "Not everything that the mesh needs passes: https-" in done.stdout.splitlines()[-1]
    assert done.stderr == ""  # no progress where there is no terminal


def test_a_port_that_another_program_holds_is_not_called_blocked(closed_map: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]
        done = verify("--derp-map", closed_map, "--port", str(port), "--socket", str(tmp_path / "none"))
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0].endswith(f"; the tunnel not at all, since UDP port {port} is taken.")
    assert f"not tried  tunnel     UDP from port {port} to anywhere" in done.stdout


def test_a_map_beside_a_server_is_taken_instead_of_the_servers(closed_map: str) -> None:
    done = verify("--derp-map", closed_map, "--server", "https://127.0.0.1:1", "--port", "0", "--region", "fra")
    assert done.stdout.startswith(f"Tried from this host: {closed_map} and https://127.0.0.1:1; ")


def test_a_map_written_by_hand_needs_no_names_of_regions(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(
        '{"Regions": {"7": {"RegionID": 7, "RegionCode": "fra", "Nodes": [{"Name": "7a", "RegionID": 7, '
        '"HostName": "127.0.0.1", "IPv6": "none", "DERPPort": 1, "STUNPort": -1}]}}}'
    )
    done = verify("--derp-map", str(tmp_path / "map.json"), "--port", "0")
    assert 'region 7 "fra" (node 7a) blocked (refused)' in done.stdout


def test_json_goes_to_standard_output_alone(closed_map: str) -> None:
    done = verify("--derp-map", closed_map, "--port", "0", "--json", "--region", "fra")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["passed"], told["complete"]) == (1, False, True)
    assert {check["blocking"] for check in told["checks"]} == {"refused", None}  # None: the tunnel's, tried by STUN


def test_an_unknown_region_is_one_line_with_the_known_ones(closed_map: str) -> None:
    done = verify("--derp-map", closed_map, "--region", "nowhere")
    assert (done.exit_code, done.stderr) == (1, "the DERP map has no region 'nowhere'; it has 7 (fra)\n")


def test_progress_is_one_line_that_goes_away(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(on=True)
    progress.told(1, 2)
    progress.told(2, 2)
    progress.end()
    said = capsys.readouterr().err
    assert "1 of 2 tried" in said
    assert "2 of 2 tried" in said
    assert "\n" not in said
    assert said.endswith(" \r")
