"""Both ends of the control channel against each other, against captured bytes of a real client, and against floods."""

import json
import struct
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.channel import (
    Body,
    Challenged,
    ChannelError,
    ClientChannel,
    Closed,
    Limits,
    Opened,
    Pong,
    Request,
    Reset,
    Response,
    Send,
    ServerChannel,
    SlowReader,
    StreamGone,
    Writable,
    early_payload,
)
from ginnel.wire import noise
from ginnel.wire.read import WireError
from ginnel.words import ChallengeKey, MachinePrivate

SERVER, MACHINE = MachinePrivate(bytes(range(32))), MachinePrivate(bytes(range(32, 64)))
CHALLENGE = ChallengeKey(bytes(range(100, 132)))
VECTORS = Path(__file__).parent.parent / "vectors/control"
CAPTURED = json.loads((VECTORS / "noise_handshake_records.json").read_text())


def written(events):
    return b"".join(event.data for event in events if isinstance(event, Send))


def told(events):
    return [event for event in events if not isinstance(event, Send)]


class Wire:
    """A client and a server joined; `run` carries bytes until both are silent and gathers what each was told."""

    def __init__(self, limits=None, challenge=CHALLENGE):
        self.client = ClientChannel(MACHINE, SERVER.public(), 113, bytes(range(64, 96)))
        self.server = ServerChannel(SERVER, bytes(range(96, 128)), challenge, limits)
        self.to_client = self.server.accept(self.client.initiation())
        self.to_server = b""
        self.client_events, self.server_events = [], []

    def run(self):
        while self.to_client or self.to_server:
            data, self.to_client = self.to_client, b""
            events = self.client.receive(data)
            self.client_events += told(events)
            self.to_server += written(events)
            data, self.to_server = self.to_server, b""
            events = self.server.receive(data)
            self.server_events += told(events)
            self.to_client += written(events)
        return self

    def request(self, *arguments):
        stream, data = self.client.request(*arguments)
        self.to_server += data
        self.run()
        return stream

    def body(self):
        return b"".join(event.data for event in self.client_events if isinstance(event, Body))


class Raw:
    """A client under the test's own control: h2 without our limits, sealed frame by frame."""

    def __init__(self, limits=None, **settings):
        self.server = ServerChannel(SERVER, bytes(range(96, 128)), None, limits)
        node = noise.Initiator(MACHINE, SERVER.public(), 113, bytes(range(64, 96)))
        answer = self.server.accept(node.initiation)
        self.session = node.finish(answer[: noise.RESPONSE_SIZE])
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.read(answer[noise.RESPONSE_SIZE :])
        self.flush()

    def read(self, sealed):
        for piece in self.session.opener.feed(sealed):
            self.h2.receive_data(piece)

    def send(self, plaintext):
        events = self.server.receive(self.session.sealer.seal(plaintext))
        self.read(written(events))
        return told(events)

    def flush(self):
        return self.send(self.h2.data_to_send())

    def request(self, stream, *, end=True, extra=()):
        self.h2.send_headers(
            stream,
            [(":method", "POST"), (":scheme", "https"), (":authority", "unused"), (":path", "/machine/map"), *extra],
            end_stream=end,
        )
        return self.flush()


def test_a_request_is_answered():
    wire = Wire().run()
    assert wire.client_events == [Opened(), Challenged(CHALLENGE)]
    assert (wire.server.machine, wire.server.version) == (MACHINE.public(), 113)
    stream = wire.request("POST", "/machine/register", b'{"Version":113}', [("ts-lb", "nodekey:00")])
    assert wire.server_events == [
        Request(
            stream,
            "POST",
            "/machine/register",
            {":scheme": "https", ":authority": "unused", "ts-lb": "nodekey:00", "content-length": "15"},
        ),
        Body(stream, b'{"Version":113}', True),
    ]
    wire.to_client = wire.server.respond(stream, 200, [("content-type", "application/json")], b"{}")
    wire.run()
    assert wire.client_events[2:] == [
        Response(stream, 200, {"content-type": "application/json", "content-length": "2"}),
        Body(stream, b"{}", True),
    ]


def test_a_request_without_a_body_ends_at_once():
    wire = Wire().run()
    stream = wire.request("GET", "/machine/whoami")
    assert wire.server_events[1:] == [Body(stream, b"", True)]
    wire.to_client = wire.server.respond(stream, 404)
    wire.run()
    assert [event.status for event in wire.client_events if isinstance(event, Response)] == [404]
    assert wire.client_events[-1] == Body(stream, b"", True)


def test_a_map_streams_until_it_ends():
    wire = Wire().run()
    stream = wire.request("POST", "/machine/map", b"{}")
    wire.to_client = wire.server.respond(stream, 200, end=False)
    frames = [bytes([n]) * 5000 for n in range(5)]
    for frame in frames:
        wire.to_client += wire.server.send(stream, frame)
    wire.to_client += wire.server.send(stream, b"", end=True)
    wire.run()
    assert wire.body() == b"".join(frames)
    assert wire.client_events[-1] == Body(stream, b"", True)
    with pytest.raises(StreamGone):
        wire.server.send(stream, b"more")


def test_a_large_map_passes_the_windows_and_nothing_stays_behind():
    wire = Wire().run()
    stream = wire.request("POST", "/machine/map", b"{}")
    large = bytes(range(256)) * (9 << 12)  # 9 MiB, more than the 4 MiB window of a stream
    wire.to_client = wire.server.respond(stream, 200, end=False) + wire.server.send(stream, large, end=True)
    assert wire.server.waiting() > 0
    wire.run()
    assert wire.body() == large
    assert wire.server_events[-1] == Writable(stream)
    assert wire.server.waiting() == 0


def test_understands_the_captured_client_and_answers_as_it_accepted():
    server = ServerChannel(
        MachinePrivate(bytes.fromhex(CAPTURED["server_static_private_hex"])),
        bytes.fromhex(CAPTURED["server_ephemeral_private_hex"]),
        CHALLENGE,
    )
    server.accept(bytes.fromhex(CAPTURED["initiation_hex"]))
    assert str(server.machine) == CAPTURED["client_machine_public"]
    events = []
    for record in CAPTURED["client_records"]:
        for event in told(server.receive(bytes.fromhex(record["record"]))):
            events.append(event)
            if isinstance(event, Request):
                server.respond(event.stream, 200, end=False)
    requests = [event for event in events if isinstance(event, Request)]
    assert [(r.method, r.path) for r in requests][:3] == [
        ("POST", "/machine/register"),
        ("POST", "/machine/map"),
        ("POST", "/machine/map"),
    ]
    bodies = {}
    for event in events:
        if isinstance(event, Body):
            bodies[event.stream] = bodies.get(event.stream, b"") + event.data
    published = {r["name"]: r["body"] for r in json.loads((VECTORS / "requests.json").read_text())["requests"]}
    assert json.loads(bodies[requests[0].stream])["Version"] == 130
    assert bodies[requests[0].stream].decode() == published["register_authkey"]
    assert not [event for event in events if isinstance(event, Closed)]


def test_the_early_payload_is_what_real_servers_send():
    captured = bytes.fromhex(CAPTURED["server_records"][0]["plaintext"])
    key = ChallengeKey.parse(json.loads(captured[9:])["nodeKeyChallenge"])
    assert early_payload(key) == captured


def server_stream(plaintext):
    """What a server writes after the 101, for the client's fixed keys; one record for each byte string."""
    client = ClientChannel(MACHINE, SERVER.public(), 113, bytes(range(64, 96)))
    accepted = noise.accept(SERVER, bytes(range(96, 128)), client.initiation())
    return client, accepted.response + b"".join(accepted.session.sealer.record(piece) for piece in plaintext)


@pytest.mark.parametrize("cut", range(1, 104))
def test_the_early_payload_may_span_records(cut):
    stream = early_payload(CHALLENGE) + SettingsFrame(0).serialize()
    client, data = server_stream([stream[:cut], stream[cut:]])
    assert told(client.receive(data)) == [Opened(), Challenged(CHALLENGE)]


def test_the_early_payload_may_be_absent():
    client, data = server_stream([SettingsFrame(0).serialize()])
    assert told(client.receive(data)) == [Opened()]
    assert not client.closed


@pytest.mark.parametrize(
    ("early", "why"),
    [
        (b"\xff\xff\xffTS" + struct.pack(">I", (64 << 10) + 1), "at most 65536"),
        (b"\xff\xff\xffTS" + struct.pack(">I", 2) + b"{}", "EarlyNoise"),
        (b"\xff\xff\xffTS" + struct.pack(">I", 1) + b"{", "EarlyNoise"),
    ],
)
def test_a_bad_early_payload_closes(early, why):
    client, data = server_stream([early])
    closed = told(client.receive(data))[-1]
    assert isinstance(closed, Closed)
    assert why in closed.reason


def test_a_refused_handshake_closes_with_the_servers_words():
    client = ClientChannel(MACHINE, SERVER.public(), 113, bytes(range(64, 96)))
    assert client.receive(noise.error_frame("try later")) == [Closed("server error: 'try later'")]
    with pytest.raises(ChannelError):
        client.request("GET", "/")


def test_the_server_refuses_a_bad_initiation():
    server = ServerChannel(SERVER, bytes(range(96, 128)), None)
    with pytest.raises(WireError):
        server.accept(bytes(101))
    with pytest.raises(ChannelError):
        server.respond(1, 200)


@given(st.data())
def test_any_chunking_gives_the_same_events(data):
    client = ClientChannel(MACHINE, SERVER.public(), 113, bytes(range(64, 96)))
    server = ServerChannel(SERVER, bytes(range(96, 128)), CHALLENGE)
    answer = server.accept(client.initiation())
    twin = ClientChannel(MACHINE, SERVER.public(), 113, bytes(range(64, 96)))
    whole = twin.receive(answer)
    stream = written(whole) + twin.request("POST", "/a", b"x" * 6000)[1] + twin.request("GET", "/b")[1]
    expected = ServerChannel(SERVER, bytes(range(96, 128)), CHALLENGE)
    expected.accept(twin.initiation())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [event for p in pieces for event in told(server.receive(p))] == told(expected.receive(stream))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=10)))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert [event for p in pieces for event in told(client.receive(p))] == told(whole)


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_any_plaintext_gives_events_or_closes(pieces):
    raw = Raw()
    for piece in pieces:
        events = raw.server.receive(raw.session.sealer.seal(piece))
        if raw.server.closed:
            assert isinstance(events[-1], Closed)
            break


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_any_bytes_close_the_channel_or_wait_for_more(pieces):
    raw = Raw()
    client = ClientChannel(MACHINE, SERVER.public(), 113, bytes(range(64, 96)))
    for piece in pieces:
        for end in (raw.server, client):
            events = end.receive(piece)
            assert end.closed == (bool(events) and isinstance(events[-1], Closed)) or not events


def test_send_comes_first_so_that_records_stay_in_order():
    raw = Raw()
    raw.h2.ping(b"12345678")
    raw.h2.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")])
    events = raw.server.receive(raw.session.sealer.seal(raw.h2.data_to_send()))
    assert [type(event) for event in events] == [Send, Request]
    answer = raw.server.respond(1, 200)
    raw.read(written(events) + answer)


def test_pings_are_answered_by_a_pong():
    wire = Wire().run()
    wire.to_client = wire.server.ping()
    wire.run()
    assert wire.server_events == [Pong()]


def test_a_reset_of_ours_is_told_to_the_peer_once():
    wire = Wire().run()
    stream = wire.request("POST", "/machine/map", b"{}")
    wire.to_server = wire.client.reset(stream)
    assert wire.client.reset(stream) == b""
    wire.run()
    assert wire.server_events[-1] == Reset(stream, "reset with code 8")
    for call in (lambda: wire.server.send(stream, b"x"), lambda: wire.server.respond(stream, 200)):
        with pytest.raises(StreamGone):
            call()


def test_goodbye_closes_the_other_end():
    wire = Wire().run()
    wire.to_client = wire.server.close()
    wire.run()
    assert isinstance(wire.client_events[-1], Closed)
    assert wire.server.closed
    with pytest.raises(ChannelError):
        wire.client.request("GET", "/")


def test_a_changed_record_closes_without_an_answer():
    wire = Wire().run()
    _, data = wire.client.request("GET", "/")
    assert wire.server.receive(data[:-1] + bytes([data[-1] ^ 1])) == [Closed("record 1 does not open")]
    assert wire.server.receive(data) == []


def test_a_slow_reader_is_refused_beyond_the_limit_and_loses_nothing_before():
    wire = Wire(Limits(queue=100_000)).run()
    stream = wire.request("POST", "/machine/map", b"{}")
    wire.server.respond(stream, 200, end=False)
    taken = 0
    with pytest.raises(SlowReader):
        while True:
            wire.server.send(stream, bytes(50_000))
            taken += 50_000
    assert wire.server.waiting() <= 100_000
    assert taken >= 4 << 20  # the stream's window, then the queue
    wire.server.reset(stream)
    assert wire.server.waiting() == 0


def test_a_reset_frees_what_waited():
    wire = Wire().run()
    stream = wire.request("POST", "/machine/map", b"{}")
    wire.server.respond(stream, 200, end=False)
    wire.server.send(stream, bytes(6 << 20))
    assert wire.server.waiting() == 2 << 20
    wire.to_server = wire.client.reset(stream)
    wire.server.receive(wire.to_server)
    assert wire.server.waiting() == 0


def test_a_window_and_a_reset_in_one_record_leave_the_connection_open():
    raw = Raw()
    raw.request(1)
    raw.server.respond(1, 200, end=False)
    raw.server.send(1, bytes(200_000))
    raw.h2.increment_flow_control_window(100_000)
    raw.h2.increment_flow_control_window(100_000, 1)
    raw.h2.reset_stream(1)
    events = raw.server.receive(raw.session.sealer.seal(raw.h2.data_to_send()))
    assert told(events) == [Reset(1, "reset with code 0")]
    assert raw.server.waiting() == 0


def test_a_window_of_zero_bytes_waits_and_then_flows():
    raw = Raw()
    raw.h2.update_settings({4: 0})
    raw.flush()
    raw.request(1)
    raw.read(raw.server.respond(1, 200, body=b"hello"))
    assert raw.server.waiting() == 5
    raw.h2.increment_flow_control_window(5, 1)
    assert raw.flush() == [Writable(1)]
    assert raw.server.waiting() == 0


# --- limits, each one over --------------------------------------------------------------------------------------


def test_a_body_of_one_byte_over_the_limit_resets_its_stream_alone():
    for size, fits in ((1000, True), (1001, False)):
        wire = Wire(Limits(body=1000)).run()
        stream = wire.request("POST", "/machine/map", bytes(size))
        assert (Reset(stream, "body over 1000 bytes") in wire.server_events) is not fits
        assert wire.request("GET", "/") and not wire.server.closed


def test_one_stream_more_than_the_limit_closes():
    raw = Raw(Limits(streams=4))
    raw.h2.remote_settings[3] = 100
    raw.h2.remote_settings.acknowledge()
    for number in (1, 3, 5, 7):
        raw.request(number)
    assert not raw.server.closed
    assert isinstance(raw.request(9)[-1], Closed)


def test_headers_over_the_limit_close():
    raw = Raw()
    raw.h2.encoder.header_table_size = 0
    assert isinstance(raw.request(1, extra=[("x", "y" * 16_000)])[0], Request)
    assert isinstance(raw.request(3, extra=[("x", "y" * 16_384)])[-1], Closed)


def test_a_request_taken_back_too_often_closes_but_answers_earn():
    raw = Raw(Limits(unanswered_resets=10))
    for turn in range(50):  # answered ones never count
        raw.request(2 * turn + 1)
        raw.read(raw.server.respond(2 * turn + 1, 200, end=False))
        raw.h2.reset_stream(2 * turn + 1)
        assert raw.flush() == [Reset(2 * turn + 1, "reset with code 0")]
    for turn in range(50, 62):
        raw.request(2 * turn + 1)
        raw.h2.reset_stream(2 * turn + 1)
        events = raw.server.receive(raw.session.sealer.seal(raw.h2.data_to_send()))
        if raw.server.closed:
            break
    assert turn == 60
    assert events[-1] == Closed("too many requests were taken back")


FLOODS = {
    "ping": PingFrame(0, b"12345678").serialize(),
    "settings": SettingsFrame(0).serialize(),
    "window": b"\0\0\4\x08\0\0\0\0\0" + b"\0\0\0\1",
    "priority": b"\0\0\5\x02\0\0\0\0\x0f" + b"\0\0\0\0\1",
    "unknown": b"\0\0\0\xbb\0\0\0\0\0",
    "empty data": b"\0\0\0\0\0\0\0\0\1",
    "reset of nothing": RstStreamFrame(1, 8).serialize(),
}


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_frames_that_ask_for_nothing_closes(frame):
    raw = Raw(Limits(quiet_frames=100, quiet_bytes=50_000))
    raw.request(1, end=False)
    if frame == FLOODS["reset of nothing"]:
        raw.h2.reset_stream(1)
        raw.flush()
    plaintext = raw.session.sealer
    for _ in range(90):
        raw.server.receive(plaintext.seal(frame))
    assert not raw.server.closed
    events = raw.server.receive(plaintext.seal(frame * 5000))
    assert raw.server.closed
    assert isinstance(events[-1], Closed)
    assert len(written(events)) < 20_000


def test_what_we_send_earns_a_client_its_acknowledgements():
    raw = Raw(Limits(quiet_frames=100))
    raw.request(1)
    raw.server.respond(1, 200, end=False)
    for _ in range(300):
        raw.server.send(1, b"map")
        raw.server.receive(raw.session.sealer.seal(FLOODS["ping"]))
    assert not raw.server.closed


def test_headers_that_never_end_close():
    raw = Raw(Limits(quiet_bytes=100_000))
    raw.server.receive(raw.session.sealer.seal(HeadersFrame(1, b"").serialize()))
    frame = ContinuationFrame(1, bytes(10_000)).serialize()
    for _ in range(9):
        raw.server.receive(raw.session.sealer.seal(frame))
    assert not raw.server.closed
    events = raw.server.receive(raw.session.sealer.seal(frame + frame))
    assert isinstance(events[-1], Closed)


def test_a_frame_that_claims_16_mib_is_not_waited_for():
    raw = Raw()
    raw.server.receive(raw.session.sealer.seal(b"\xff\xff\xff\0\0\0\0\0\1"))
    events = []
    for _ in range(300):
        events += raw.server.receive(raw.session.sealer.seal(bytes(1024)))
    assert isinstance(events[-1], Closed)


def test_a_large_header_table_of_the_peer_costs_us_nothing():
    raw = Raw()
    raw.h2.update_settings({1: 1 << 31})
    raw.flush()
    assert raw.server._exchanges._h2.encoder.header_table_size == 4096
