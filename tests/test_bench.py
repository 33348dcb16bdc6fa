"""What a bench prints: one shape for all rows, absent peers said, nothing guessed."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench import __main__ as program
from bench import _lab, _peers, _rows, relay
from bench._rows import KEYS, checked, not_measured, percentile, row

ROOT = Path(__file__).parent.parent


def fake(**differs):
    made = row("stun/answers", "answers/CPU second", [3.0, 1.0, 2.0], [4.0, 4.0], peer="derper", limit=1.0)
    return made | differs


def bench_of(monkeypatch, *rows):
    module = SimpleNamespace(rows=lambda n: iter(rows))
    monkeypatch.setitem(sys.modules, "bench.stun", module)


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    return program.main()


def test_a_row_is_medians_their_quotient_and_both_spreads():
    made = fake()
    assert tuple(made) == KEYS
    assert (made["ours"], made["theirs"], made["ratio"], made["n"]) == (2.0, 4.0, 0.5, 3)
    assert made["notes"] == "ours 1..3, derper 4..4"


def test_an_absent_peer_is_said_and_not_guessed():
    made = row("stun/answers", "s", [1.0], [], peer="derper", absent="derper is absent")
    assert (made["theirs"], made["ratio"]) == (None, None)
    assert "derper is absent" in made["notes"]


@pytest.mark.parametrize(
    "wrong", [{"name": "stun/other"}, {"n": 0}, {"n": 2.0}, {"ours": None}, {"more": 1}, {"name": "control/rss-many"}]
)
def test_a_row_of_another_shape_is_refused(wrong):
    with pytest.raises(ValueError, match=r"row|named|figure"):
        checked(fake(**wrong))


def test_a_row_without_a_key_is_refused():
    short = fake()
    del short["limit"]
    with pytest.raises(ValueError, match="keys"):
        checked(short)


def test_what_could_not_be_measured_is_a_row_too():
    assert checked(not_measured("node/rss", "MiB", "needs root"))["ours"] is None


def test_json_is_one_object_a_line_with_exactly_the_keys(monkeypatch, capsys):
    bench_of(monkeypatch, fake(), not_measured("stun/answers", "s", "why"))
    assert run(monkeypatch, "stun", "--json", "-n", "1") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [tuple(line) for line in lines] == [KEYS, KEYS]


def test_text_has_the_figures_the_limit_and_the_notes(monkeypatch, capsys):
    bench_of(monkeypatch, fake(limit_ratio=1.3))
    run(monkeypatch, "stun")
    line = capsys.readouterr().out
    for part in (
        "stun/answers",
        " 2 ",
        "derper",
        "ratio    0.5",
        "limit 1 ",
        "limit of the ratio 1.3",
        "n 3",
        "ours 1..3",
    ):
        assert part in line


def test_a_bench_that_breaks_is_told_and_the_next_one_runs(monkeypatch, capsys):
    def break_down(n):
        raise RuntimeError("no such thing")

    monkeypatch.setitem(sys.modules, "bench.relay", SimpleNamespace(rows=break_down))
    bench_of(monkeypatch, fake())
    assert run(monkeypatch, "relay", "stun") == 1
    said = capsys.readouterr()
    assert "stun/answers" in said.out
    assert said.err == "python -m bench relay: RuntimeError: no such thing\n"


def test_an_unknown_bench_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no bench 'nonsense'" in done.stderr


def test_without_root_the_labs_benches_say_so(monkeypatch):
    monkeypatch.setattr(_lab, "why_not", lambda: "needs root")
    from bench import cli, connect, idle, node, paths

    found = [checked(each) for bench in (cli, connect, idle, node, paths) for each in bench.rows(1)]
    assert {each["notes"] for each in found} == {"needs root"}
    assert {each["name"].split("/")[0] for each in found} == {"cli", "connect", "idle", "node", "paths"}


def test_a_peer_is_the_one_named_or_the_one_built_or_absent(monkeypatch, tmp_path):
    _peers.find.cache_clear()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_peers, "_built", lambda module, target: False)
    monkeypatch.delenv("BENCH_DERPER", raising=False)
    monkeypatch.setenv("BENCH_TAILSCALED", sys.executable)
    try:
        assert _peers.find("BENCH_DERPER") is None
        assert _peers.find("BENCH_TAILSCALED") == sys.executable
        assert "BENCH_DERPER" in _peers.absent("BENCH_DERPER")
    finally:
        _peers.find.cache_clear()


def test_percentiles_are_values_that_were_measured():
    assert percentile([5.0, 1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([5.0, 1.0, 2.0, 3.0, 4.0], 0.95) == 5.0
    assert percentile([1.0], 0.95) == 1.0
    assert percentile([float(i) for i in range(1, 21)], 0.95) == 19.0


def test_the_relay_is_measured_in_turns_and_in_the_dearest_shape(monkeypatch):
    asked = []

    def one(side, pairs, shape, seconds):
        asked.append((side is relay.relays.ours, pairs, shape))
        return relay.Run(100.0 if side is relay.relays.ours else 50.0, 1.0, 0.25, 0, "TLSv1_3", 1, 2000, 5.0)

    monkeypatch.setattr(relay, "_run", one)
    monkeypatch.setattr(relay, "_idle", lambda side, count: 10.0)
    monkeypatch.setattr(_peers, "find", lambda variable: "derper")
    first, second, p99, flooded, idle, many = (checked(each) for each in relay.rows(2))
    assert [ours for ours, _, _ in asked[:4]] == [True, False, True, False]
    assert {shape for _, _, shape in asked[:4]} == {relay.Shape(relay.ALONE, relay.WINDOW)}
    assert (first["ours"], first["theirs"], first["ratio"], first["n"]) == (100.0, 50.0, 2.0, 2)
    assert "not forwarded 25.0%, theirs 25.0%" in str(first["notes"])
    assert (first["limit"], second["limit"], idle["limit"]) == (500_000, 350_000, 24)
    assert (p99["ours"], flooded["ours"], many["ours"]) == (2.0, 1.0, 97.656)


def test_half_load_is_half_of_what_each_side_carried_itself(monkeypatch):
    asked = []

    def one(side, pairs, shape, seconds):
        asked.append((side, shape.rate))
        return relay.Run(0.0, 300.0 if side == "ours" else 80.0, 0.0, 0, "TLSv1_3", 1, 500, 0.0)

    monkeypatch.setattr(relay, "_run", one)
    (found,) = relay._half_load(["ours", "theirs"], 1, "")
    assert asked == [("ours", 0.0), ("theirs", 0.0), ("ours", 150.0), ("theirs", 40.0)]
    assert found["ours"] == 0.5


def test_what_a_flood_leaves_is_compared_with_the_same_pair_alone(monkeypatch):
    def one(side, pairs, shape, seconds):
        return relay.Run(0.0, 1500.0 if shape.flood else 2000.0, 0.0, 0, "TLSv1_3", 1, 2, 9000.0)

    monkeypatch.setattr(relay, "_run", one)
    (found,) = relay._flooded(["ours"], 3, "")
    assert (found["ours"], found["limit"]) == (0.75, 0.9)


def test_the_names_are_those_of_the_contract():
    for name in ("tunnel/tcp", "tunnel/relayed-tcp", "relay/idle-client", "control/join-p99-1000", "paths/black-hole"):
        assert _rows.NAMES.fullmatch(name)
