"""HTTP/2 exchanges over a byte stream that something else protects (RFC 9113), both ends, with every quantity bounded.

Room: core, sans-IO. Plaintext and calls go in; events and plaintext to write come out. No sockets, clocks, randomness
or logs come in. The h2 library does frames, header compression and stream states. Added here: queues for what a
peer's window does not take yet, acknowledgement of what came, and limits against peers that only cost.

A peer may send frames that ask for nothing (pings, settings, window updates, resets) as the answers it is given earn
them: an idle connection bears a few hundred, one that moves megabytes bears thousands, and a flood ends it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from ginnel.core.streams import (
    Body,
    ChannelError,
    Closed,
    Exchange,
    Limits,
    Pong,
    Request,
    Reset,
    Response,
    SlowReader,
    StreamGone,
    Writable,
)

CLIENT_STREAM_WINDOW = 4 << 20
CLIENT_CONNECTION_WINDOW = 16 << 20
DEFAULT_WINDOW = 65_535  # RFC 9113 §6.9.2
OUR_HEADER_TABLE = 4096  # bytes of header table we fill at most, whatever the peer offers
BYTES_PER_QUIET_FRAME = 512  # a receiver acknowledges in steps larger than this


class _Connection(H2Connection):
    """h2 with its memories bounded: it keeps how each of its last streams closed."""

    MAX_CLOSED_STREAMS = 64


@dataclass(slots=True)
class _Stream:
    received: int = 0
    answered: bool = False
    peer_ended: bool = False
    ended: bool = False  # our end is sent or queued
    queue: deque[memoryview] | None = None


class Exchanges:
    """One connection's streams. Every call returns the plaintext to write, in the order of the calls."""

    def __init__(self, *, client: bool, limits: Limits) -> None:
        self._limits = limits
        self._client = client
        self._streams: dict[int, _Stream] = {}
        self._waiting: dict[int, _Stream] = {}
        self._queued = 0
        self._resets = limits.unanswered_resets
        self._quiet_frames = limits.quiet_frames
        self._quiet_bytes = 0
        self._h2 = _connection(client, limits)
        self.closed = False

    def open(self) -> bytes:
        """The preface (a client's), our settings and windows."""
        self._h2.initiate_connection()
        if self._client:
            self._h2.increment_flow_control_window(CLIENT_CONNECTION_WINDOW - DEFAULT_WINDOW)
        return self._h2.data_to_send()

    # --- what comes in ---

    def receive(self, data: bytes) -> tuple[list[Exchange], bytes]:
        """Take some plaintext, best in small pieces: limits are checked after each. After Closed nothing follows."""
        if self.closed:
            return [], b""
        events: list[Exchange] = []
        try:
            came = self._h2.receive_data(data)
            self._count_quiet_bytes(len(data), bool(came))
            self._drop_queues_of_reset_streams(came)
            for event in came:
                if handle := _HANDLERS.get(type(event)):
                    handle(self, event, events)
        except H2Error as error:
            return [*events, self.end(f"HTTP/2: {error}")], self._h2.data_to_send()
        except _OverLimit as over:
            return [*events, self.end(str(over))], self._goaway(ErrorCodes.ENHANCE_YOUR_CALM)
        return events, self._h2.data_to_send()

    def _drop_queues_of_reset_streams(self, came: list[h2.events.Event]) -> None:
        """h2 has seen all of the piece: what an earlier frame in it would let us send may have nowhere to go."""
        for event in came:
            if isinstance(event, h2.events.StreamReset) and event.stream_id in self._waiting:
                self._drop_queue(event.stream_id, self._waiting[event.stream_id])

    def _drop_queue(self, number: int, stream: _Stream) -> None:
        if stream.queue is not None:
            self._queued -= sum(map(len, stream.queue))
            stream.queue = None
            del self._waiting[number]

    def _count_quiet_bytes(self, size: int, heard: bool) -> None:
        self._quiet_bytes = 0 if heard else self._quiet_bytes + size
        if self._quiet_bytes > self._limits.quiet_bytes:
            raise _OverLimit(f"more than {self._limits.quiet_bytes} bytes without one frame")

    def _take_request(self, event: h2.events.RequestReceived, events: list[Exchange]) -> None:
        headers = _text(event.headers)
        method, path = headers.pop(":method", ""), headers.pop(":path", "")
        self._streams[event.stream_id] = _Stream()
        events.append(Request(event.stream_id, method, path, headers))
        if event.stream_ended:
            self._take_body(event.stream_id, b"", True, events)

    def _take_response(self, event: h2.events.ResponseReceived, events: list[Exchange]) -> None:
        if (stream := self._streams.get(event.stream_id)) is None:
            return
        stream.answered = True
        headers = _text(event.headers)
        status = headers.pop(":status", "")
        if not (status.isascii() and status.isdigit() and len(status) == 3):
            self._refuse(event.stream_id, "the response has no status", ErrorCodes.PROTOCOL_ERROR, events)
            return
        events.append(Response(event.stream_id, int(status), headers))
        if event.stream_ended:
            self._take_body(event.stream_id, b"", True, events)

    def _take_trailers(self, event: h2.events.TrailersReceived, events: list[Exchange]) -> None:
        self._take_body(event.stream_id, b"", True, events)

    def _take_data(self, event: h2.events.DataReceived, events: list[Exchange]) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if event.data or event.stream_ended:
            self._take_body(event.stream_id, event.data, event.stream_ended is not None, events)
        else:
            self._count_quiet_frame()

    def _take_body(self, number: int, data: bytes, ended: bool, events: list[Exchange]) -> None:
        if (stream := self._streams.get(number)) is None:
            return
        stream.received += len(data)
        if self._limits.body is not None and stream.received > self._limits.body:
            self._refuse(number, f"body over {self._limits.body} bytes", ErrorCodes.ENHANCE_YOUR_CALM, events)
            return
        stream.peer_ended = ended
        events.append(Body(number, data, ended))
        self._forget_if_done(number, stream)

    def _take_reset(self, event: h2.events.StreamReset, events: list[Exchange]) -> None:
        stream = self._forget(event.stream_id)
        if stream is None:
            self._count_quiet_frame()
            return
        events.append(Reset(event.stream_id, f"reset with code {int(event.error_code)}"))
        if not stream.answered:
            self._resets -= 1
            if self._resets < 0:
                raise _OverLimit("too many requests were taken back")

    def _take_window(self, event: h2.events.WindowUpdated, events: list[Exchange]) -> None:
        self._count_quiet_frame()
        self._flush([event.stream_id] if event.stream_id else list(self._waiting), events)

    def _take_settings(self, _event: h2.events.Event, events: list[Exchange]) -> None:
        self._count_quiet_frame()
        self._h2.encoder.header_table_size = min(self._h2.encoder.header_table_size, OUR_HEADER_TABLE)
        self._flush(list(self._waiting), events)

    def _take_pong(self, _event: h2.events.Event, events: list[Exchange]) -> None:
        self._count_quiet_frame()
        events.append(Pong())

    def _take_quiet(self, _event: h2.events.Event, _events: list[Exchange]) -> None:
        self._count_quiet_frame()

    def _take_goaway(self, event: h2.events.ConnectionTerminated, events: list[Exchange]) -> None:
        if not self.closed:
            events.append(self.end(f"the peer ended the connection with code {int(event.error_code or 0)}"))

    def _count_quiet_frame(self) -> None:
        self._quiet_frames -= 1
        if self._quiet_frames < 0:
            raise _OverLimit("too many frames that ask for nothing")

    # --- what goes out ---

    def request(self, headers: list[tuple[str, str]], body: bytes) -> tuple[int, bytes]:
        """Open a stream. Raises ChannelError when the connection is closed or full, SlowReader."""
        self._check_open()
        self._check_room(len(body))
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, headers, end_stream=not body)
        except H2Error as error:
            raise ChannelError(str(error)) from None
        stream = self._streams[number] = _Stream(ended=not body)
        if body:
            self._write(number, stream, body, True)
        return number, self._h2.data_to_send()

    def respond(self, number: int, headers: list[tuple[str, str]], body: bytes, end: bool) -> bytes:
        """Answer with a head and the beginning of the body. Raises StreamGone, SlowReader."""
        stream = self._open_stream(number)
        if stream.answered:
            raise StreamGone(f"stream {number} has been answered")
        self._check_room(len(body))
        stream.answered = True
        self._resets = min(self._limits.unanswered_resets, self._resets + 1)
        self._h2.send_headers(number, headers, end_stream=end and not body)
        stream.ended = end and not body
        if body:
            self._write(number, stream, body, end)
        self._forget_if_done(number, stream)
        return self._h2.data_to_send()

    def send(self, number: int, data: bytes, end: bool) -> bytes:
        """More of the body. What the peer's windows do not take waits. Raises StreamGone, SlowReader."""
        stream = self._open_stream(number)
        self._check_room(len(data))
        if data or end:
            self._write(number, stream, data, end)
            self._forget_if_done(number, stream)
        return self._h2.data_to_send()

    def waiting(self) -> int:
        """Bytes that wait for the peer's windows."""
        return self._queued

    def reset(self, number: int) -> bytes:
        """Take the stream back (CANCEL). A stream that is gone already needs nothing."""
        if self.closed or self._forget(number) is None:
            return b""
        self._h2.reset_stream(number, ErrorCodes.CANCEL)
        return self._h2.data_to_send()

    def ping(self) -> bytes:
        self._check_open()
        self._h2.ping(b"\0" * 8)
        return self._h2.data_to_send()

    def close(self) -> bytes:
        """Say goodbye; nothing can be done after it."""
        if self.closed:
            return b""
        self.end("")
        return self._goaway(ErrorCodes.NO_ERROR)

    def _write(self, number: int, stream: _Stream, data: bytes, end: bool) -> None:
        stream.ended = end
        self._earn(len(data))
        connection = self._h2
        if stream.queue is None:
            room = min(connection.local_flow_control_window(number), connection.max_outbound_frame_size)
            if len(data) <= room:
                connection.send_data(number, data, end_stream=end)
                return
            stream.queue = deque()
            self._waiting[number] = stream
        stream.queue.append(memoryview(data))
        self._queued += len(data)
        self._drain(number, stream)

    def _earn(self, size: int) -> None:
        earned = self._quiet_frames + 1 + size // BYTES_PER_QUIET_FRAME
        self._quiet_frames = min(earned, self._limits.quiet_frames * 64)

    def _flush(self, numbers: Iterable[int], events: list[Exchange]) -> None:
        for number in numbers:
            if (stream := self._waiting.get(number)) is not None and self._drain(number, stream):
                events.append(Writable(number))
                self._forget_if_done(number, stream)

    def _drain(self, number: int, stream: _Stream) -> bool:
        """Send what the windows take; True when nothing waits any more."""
        queue = stream.queue
        while queue:
            window = self._h2.local_flow_control_window(number)
            room = min(window, self._h2.max_outbound_frame_size)
            if room <= 0 and len(queue[0]):
                return False
            piece = queue[0][:room]
            rest = queue[0][room:]
            if rest:
                queue[0] = rest
            else:
                queue.popleft()
            self._queued -= len(piece)
            self._h2.send_data(number, piece, end_stream=stream.ended and not queue)
        stream.queue = None
        self._waiting.pop(number, None)
        return True

    # --- streams and ends ---

    def _check_open(self) -> None:
        if self.closed:
            raise ChannelError("the channel is closed")

    def _check_room(self, size: int) -> None:
        if self._queued + size > self._limits.queue:
            raise SlowReader(f"{self._queued} bytes wait for the peer, no room for {size} more")

    def _open_stream(self, number: int) -> _Stream:
        stream = self._streams.get(number)
        if stream is None or stream.ended or self.closed:
            raise StreamGone(f"stream {number} is not open")
        return stream

    def _refuse(self, number: int, reason: str, code: ErrorCodes, events: list[Exchange]) -> None:
        self._forget(number)
        with suppress(H2Error):  # the peer may have reset it further on in the same piece
            self._h2.reset_stream(number, code)
        events.append(Reset(number, reason))

    def _forget(self, number: int) -> _Stream | None:
        if (stream := self._streams.pop(number, None)) is not None:
            self._drop_queue(number, stream)
        return stream

    def _forget_if_done(self, number: int, stream: _Stream) -> None:
        if stream.ended and stream.peer_ended and stream.queue is None:
            self._streams.pop(number, None)

    def end(self, reason: str) -> Closed:
        """Forget everything, without a goodbye."""
        self.closed = True
        self._streams.clear()
        self._waiting.clear()
        self._queued = 0
        return Closed(reason)

    def _goaway(self, code: ErrorCodes) -> bytes:
        self._h2.close_connection(code)
        return self._h2.data_to_send()


class _OverLimit(Exception):
    pass


_HANDLERS: dict[type[h2.events.Event], Callable[[Exchanges, Any, list[Exchange]], None]] = {
    h2.events.RequestReceived: Exchanges._take_request,
    h2.events.ResponseReceived: Exchanges._take_response,
    h2.events.TrailersReceived: Exchanges._take_trailers,
    h2.events.DataReceived: Exchanges._take_data,
    h2.events.StreamReset: Exchanges._take_reset,
    h2.events.WindowUpdated: Exchanges._take_window,
    h2.events.RemoteSettingsChanged: Exchanges._take_settings,
    h2.events.SettingsAcknowledged: Exchanges._take_quiet,
    h2.events.PingReceived: Exchanges._take_quiet,
    h2.events.PingAckReceived: Exchanges._take_pong,
    h2.events.PriorityUpdated: Exchanges._take_quiet,
    h2.events.UnknownFrameReceived: Exchanges._take_quiet,
    h2.events.AlternativeServiceAvailable: Exchanges._take_quiet,
    h2.events.InformationalResponseReceived: Exchanges._take_quiet,
    h2.events.ConnectionTerminated: Exchanges._take_goaway,
}


def _connection(client: bool, limits: Limits) -> _Connection:
    config = H2Configuration(
        client_side=client,
        header_encoding="latin-1",
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = _Connection(config)
    ours = {
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.streams,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.headers,
        SettingCodes.ENABLE_PUSH: 0,
    }
    if client:
        ours[SettingCodes.INITIAL_WINDOW_SIZE] = CLIENT_STREAM_WINDOW
    connection.local_settings = Settings(client=client, initial_values=ours)
    connection.decoder.max_header_list_size = limits.headers
    return connection


def _text(headers: Iterable[Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}
