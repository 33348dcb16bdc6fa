"""The driver between mesh and pump, with a pump that only writes down what it is told."""

import asyncio
import errno
import os

import pytest

from ginnel.core.node import actions as act
from ginnel.core.node.mesh import Mesh
from ginnel.shell.node.engine import BindError, Engine, EngineClosed, noticed
from ginnel.words import DiscoPrivate, Endpoint, Instant, NodeKey, RegionId

KEY = NodeKey(b"\x05" * 32)


class Pump:
    """Notes every call; a socketpair stands for its descriptor."""

    def __init__(self, *, taken: tuple[int, ...] = ()) -> None:
        self.calls: list[tuple] = []
        self.batches: list[list[tuple]] = []
        self.taken = taken
        self._read, self._write = os.pipe()

    def fileno(self) -> int:
        return self._read

    def wake(self, batch: list[tuple]) -> None:
        self.batches.append(batch)
        os.write(self._write, b"x")

    def drain(self, limit: int) -> list[tuple]:
        os.read(self._read, 1)
        return self.batches.pop(0)

    def bind(self, port: int) -> tuple[int, int]:
        self.calls.append(("bind", port))
        if port in self.taken or -1 in self.taken:
            raise OSError(errno.EADDRINUSE, "in use")
        return (port or 50000, port or 50000)

    def close(self) -> None:
        self.calls.append(("close",))
        os.close(self._read)
        os.close(self._write)

    def __getattr__(self, name: str):
        return lambda *arguments, **named: self.calls.append((name, *arguments, *named.items()))

    def open_sides(self, count: int) -> list[tuple[int, int]]:
        self.calls.append(("open_sides", count))
        if -1 in self.taken:
            raise OSError(errno.EMFILE, "too many open files")
        return [(number, 40000 + number) for number in range(1, count + 1)]


class Told:
    def __init__(self, pump: Pump) -> None:
        self.reports: list[act.ReportToControl] = []
        self.changed = asyncio.Event()
        self.engine = Engine(
            pump,
            Mesh(DiscoPrivate(b"\x01" * 32), os.urandom),
            spawn=asyncio.ensure_future,
            report=self.reports.append,
            changed=self.changed.set,
        )


@pytest.mark.parametrize(
    ("action", "call"),
    [
        (act.SetPeer(KEY, ("100.64.0.2/32",)), ("set_peer", KEY.raw, ("100.64.0.2/32",))),
        (act.ResetPeer(KEY), ("reset_peer", KEY.raw)),
        (act.AskInside(KEY, "100.64.0.1", "100.64.0.2"), ("ask_inside", KEY.raw, "100.64.0.1", "100.64.0.2")),
        (act.RemovePeer(KEY), ("remove_peer", KEY.raw)),
        (
            act.Steer(KEY, Endpoint.parse("192.0.2.1:7"), RegionId(0)),
            ("steer", KEY.raw, ("192.0.2.1", 7), 0, ("socket", 0)),
        ),
        (
            act.Steer(KEY, Endpoint.parse("192.0.2.1:7"), RegionId(0), 12),
            ("steer", KEY.raw, ("192.0.2.1", 7), 0, ("socket", 12)),
        ),
        (act.Steer(KEY, None, RegionId(9)), ("steer", KEY.raw, None, 9, ("socket", 0))),
        (act.CloseSides((3, 4)), ("close_sides", (3, 4))),
        (
            act.SendUdp(Endpoint.parse("192.0.2.1:7"), b"x", 12, 3),
            ("send_side", 12, ("192.0.2.1", 7), b"x", ("ttl", 3)),
        ),
        (act.SetAddresses(("100.64.0.1/32",)), ("set_addresses", ("100.64.0.1/32",))),
        (act.SetFilter(()), ("set_filter", ())),
        (act.SendUdp(Endpoint.parse("[2001:db8::1]:7"), b"x"), ("send_udp", ("2001:db8::1", 7), b"x")),
        (act.SendRelay(RegionId(9), KEY, b"x"), ("relay_send", 9, KEY.raw, b"x")),
        (
            act.RelayOpen(RegionId(9), "r.example", (Endpoint.parse("192.0.2.1:443"),), "insecure"),
            ("relay_open", 9, "r.example", [("192.0.2.1", 443)], "insecure"),
        ),
        (
            act.RelayMove(RegionId(9), "r.example", (Endpoint.parse("192.0.2.1:443"),), "insecure"),
            ("relay_move", 9, "r.example", [("192.0.2.1", 443)], "insecure"),
        ),
        (act.RelayClose(RegionId(9)), ("relay_close", 9)),
        (act.RelayPrefer(RegionId(9)), ("relay_prefer", 9)),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_each_action_is_one_call_of_the_pump(action: act.Action, call: tuple) -> None:
    pump = Pump()
    told = Told(pump)
    told.engine.start(0)
    pump.calls.clear()
    told.engine.input(lambda mesh, now: [action])
    assert pump.calls == [call]
    told.engine.close()


@pytest.mark.parametrize("fault", [ValueError("bad prefix"), OverflowError("too large")])
async def test_what_the_tables_refuse_is_told_and_the_rest_is_done(fault: Exception) -> None:
    pump = Pump()
    told = Told(pump)
    told.engine.start(0)

    def refuse(*_: object) -> None:
        raise fault

    pump.set_filter = refuse
    told.engine.input(lambda mesh, now: [act.SetFilter(()), act.RelayPrefer(RegionId(9))])
    assert pump.calls[-1] == ("relay_prefer", 9)
    assert str(fault) in told.engine.health["bad-map"]
    told.engine.close()


async def test_what_was_refused_is_told_until_something_better_takes_its_place() -> None:
    pump = Pump()
    told = Told(pump)
    told.engine.start(0)
    other = NodeKey(bytes(range(1, 33)))

    def refuse(key: bytes, allowed: tuple[str, ...]) -> None:
        if "bad" in allowed:
            raise ValueError(f"{key[0]} has a bad prefix")

    pump.set_peer = refuse
    told.engine.input(lambda mesh, now: [act.SetPeer(KEY, ("bad",)), act.SetPeer(other, ("bad",))])
    told.engine.input(lambda mesh, now: [act.SetFilter(()), act.SetPeer(other, ()), act.Steer(KEY, None, RegionId(1))])
    assert told.engine.health["bad-map"] == f"the server's map holds something unusable: {KEY.raw[0]} has a bad prefix"
    told.engine.input(lambda mesh, now: [act.SetPeer(KEY, ())])
    assert "bad-map" not in told.engine.health
    told.engine.input(lambda mesh, now: [act.SetPeer(KEY, ("bad",))])
    assert "bad-map" in told.engine.health
    told.engine.input(lambda mesh, now: [act.RemovePeer(KEY)])
    assert "bad-map" not in told.engine.health
    told.engine.close()


async def test_a_relay_for_which_no_thread_is_left_counts_as_one_that_cannot_be_reached() -> None:
    pump = Pump()
    told = Told(pump)
    told.engine.start(0)
    down: list[tuple[RegionId, str]] = []
    told.engine.mesh.relay_down = lambda region, why, now: down.append((region, why)) or []

    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    pump.relay_open = refuse
    told.engine.input(lambda mesh, now: [act.RelayOpen(RegionId(9), "r.example", (), "insecure")])
    await asyncio.sleep(0)
    assert down == [(9, "Resource temporarily unavailable")]
    told.engine.close()


@pytest.mark.parametrize("fault", [OSError(errno.EAGAIN, "no thread"), ValueError("bad name")])
async def test_a_move_that_cannot_even_begin_counts_as_one_that_failed(fault: Exception) -> None:
    pump = Pump()
    told = Told(pump)
    told.engine.start(0)
    stayed: list[RegionId] = []
    told.engine.mesh.relay_stayed = lambda region, now: stayed.append(region) or []

    def refuse(*_: object) -> None:
        raise fault

    pump.relay_move = refuse
    told.engine.input(lambda mesh, now: [act.RelayMove(RegionId(9), "r.example", (), "insecure")])
    await asyncio.sleep(0)
    assert stayed == [9]
    told.engine.close()


async def test_a_port_that_is_taken_is_replaced_and_told_until_it_is_had() -> None:
    pump = Pump(taken=(41641,))
    told = Told(pump)
    told.engine.start(41641)
    assert [call for call in pump.calls if call[0] == "bind"] == [("bind", 41641), ("bind", 0)]
    assert "41641 is taken; using 50000" in told.engine.health["port-taken"]
    pump.taken = ()
    told.engine.input(lambda mesh, now: [act.Rebind(41641)])
    await asyncio.sleep(0)
    assert "port-taken" not in told.engine.health
    told.engine.close()


async def test_no_port_at_all_is_an_error_at_the_start() -> None:
    told = Told(Pump(taken=(-1,)))
    with pytest.raises(BindError, match="no UDP port"):
        told.engine.start(0)
    told.engine.close()


async def test_what_the_pump_sets_aside_reaches_the_mesh() -> None:
    pump = Pump()
    told = Told(pump)
    told.engine.start(0)
    told.changed.clear()
    pump.wake([("disco", ("192.0.2.9", 9), b"TS\xf0\x9f\x92\xac" + bytes(80))])
    async with asyncio.timeout(10):
        await told.changed.wait()
    assert sum(told.engine.mesh.drops.values()) == 1
    told.engine.close()


async def test_a_question_that_a_closing_engine_leaves_open_is_answered() -> None:
    told = Told(Pump())
    told.engine.start(0)
    told.engine.mesh.netcheck_requested = lambda number, now, **_: []  # one that takes its time
    asking = asyncio.ensure_future(told.engine.netcheck())
    await asyncio.sleep(0)
    told.engine.close()
    with pytest.raises(EngineClosed):
        async with asyncio.timeout(10):
            await asking


ASIDES = [
    ("disco", ("192.0.2.9", 9), b"x"),
    ("stun", ("2001:db8::1", 9), b"x"),
    ("relayed-disco", 9, KEY.raw, b"x"),
    ("sent", KEY.raw),
    ("received", KEY.raw, ("192.0.2.9", 9)),
    ("received", KEY.raw, 9),
    ("handshake", KEY.raw),
    ("unsendable", ("192.0.2.9", 9), 113),
    ("relay-wanted", 9),
    ("relay-up", 9, KEY.raw, ("192.0.2.9", 443)),
    ("relay-down", 9, "gone", True),
    ("relay-stayed", 9, "refused"),
    ("relay-gone", 9, KEY.raw, 0),
    ("relay-health", 9, ""),
    ("relay-restarting", 9, 1000, 2000),
    ("something new", 1),
]


@pytest.mark.parametrize("aside", ASIDES, ids=lambda aside: aside[0])
def test_every_aside_of_the_contract_is_taken(aside: tuple) -> None:
    mesh = Mesh(DiscoPrivate(b"\x01" * 32), os.urandom)
    assert isinstance(noticed(mesh, aside, Instant(1.0)), list)


@pytest.mark.parametrize(("taken", "opened"), [((), [(1, 40001), (2, 40002)]), ((-1,), [])])
async def test_side_sockets_are_told_to_the_mesh_also_when_none_can_be_had(
    taken: tuple[int, ...], opened: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pump = Pump()
    told = Told(pump)
    told.engine.start(0)
    pump.taken = taken
    answers: list[tuple[int, list[tuple[int, int]]]] = []
    monkeypatch.setattr(
        told.engine.mesh, "sides_opened", lambda number, sockets, _: answers.append((number, sockets)) or []
    )
    told.engine.input(lambda mesh, now: [act.OpenSides(5, 2)])
    await asyncio.sleep(0)
    assert answers == [(5, opened)]
    told.engine.close()


@pytest.mark.parametrize(("address", "socket"), [(("192.0.2.1", 7), 0), (("192.0.2.1", 7, 12), 12)])
def test_what_a_side_socket_heard_is_told_with_its_number(address: tuple, socket: int) -> None:
    heard: list[tuple] = []

    class Listening:
        def __getattr__(self, name: str):
            return lambda *arguments: heard.append((name, *arguments)) or []

    now, source = Instant(1.0), Endpoint.parse("192.0.2.1:7")
    noticed(Listening(), ("disco", address, b"d"), now)  # type: ignore[arg-type]
    noticed(Listening(), ("stun", address, b"s"), now)  # type: ignore[arg-type]
    noticed(Listening(), ("unsendable", address, 99), now)  # type: ignore[arg-type]
    noticed(Listening(), ("received", KEY.raw, address), now)  # type: ignore[arg-type]
    assert heard == [
        ("disco_received", source, b"d", now, socket),
        ("stun_received", source, b"s", now, socket),
        ("unsendable", source, 99, now, socket),
        ("received", KEY, source, now),
    ]
