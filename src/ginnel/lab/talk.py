"""What a pair says to each other: a TCP stream between two of our nodes, web pages with Tailscale's client.

Room: lab. A talk goes on for as long as its block, so that the path under it stays wanted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, SOCK_STREAM, socket
from types import TracebackType
from typing import Protocol

from ginnel.lab import LabError
from ginnel.lab.namespace import Inside
from ginnel.lab.official_client import PEER_PAGES, OfficialNode
from ginnel.lab.processes import until
from ginnel.lab.traffic import Conversation

Note = Callable[[str, bool, str], None]
AGAIN = 0.1
SHORT = 0.5  # a fresh connection each time: an old one would wait for its own retransmission


class Talk(Protocol):
    """`carry` gives the seconds that a payload took, None when it did not come across whole."""

    started: float

    @property
    def seconds_to_first_byte(self) -> float: ...
    def carry(self, payload: bytes, limit: float) -> float | None: ...
    def check(self, note: Note) -> None: ...
    def alive(self) -> bool: ...
    def __enter__(self) -> Talk: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class Stream(Conversation):
    """Between two nodes with a TUN device."""

    def __enter__(self) -> Stream:
        super().__enter__()
        return self

    def carry(self, payload: bytes, limit: float) -> float | None:
        try:
            took = self.send_and_wait(payload, limit)
        except LabError:
            return None
        return took if self.intact() else None

    def alive(self) -> bool:
        """A packet gets there and back now."""
        try:
            self.sender.run(["ping", "-n", "-c", "1", "-W", "1", self.address])
        except LabError:
            return False
        return True

    def check(self, note: Note) -> None:
        """The stream that began before the path was settled is still whole, and ICMP goes the same way."""
        until(lambda: self.arrived() or None, self.limit, "the stream to drain")
        note("stream-survives", not self.broken, self.broken or f"{self.received} bytes on one connection")
        try:
            self.sender.run(["ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", self.address])
        except LabError as error:
            note("ping", False, str(error))
        else:
            note("ping", True, f"{self.address} answers")


@dataclass(frozen=True, slots=True)
class OurSide:
    space: Inside
    address: str


@dataclass(frozen=True, slots=True)
class TheirSide:
    space: Inside
    official: OfficialNode


class Pages:
    """Our node fetches a page from the official client; the official client's proxy fetches one from our node.

    official_first: which of them begins, and goes on.
    """

    def __init__(self, ours: OurSide, theirs: TheirSide, limit: float, *, official_first: bool = False) -> None:
        self.ours, self.our_address, self.limit = ours.space, ours.address, limit
        self.official, self.theirs = theirs.official, theirs.space
        self.page = b"a page from our node"
        self.begin = self.fetch_by_proxy if official_first else self.fetch
        self.want = self.page if official_first else OfficialNode.PAGE.encode()
        self.started, self.first = 0.0, 0.0
        self.ending = threading.Event()
        self.serving = threading.Thread(target=self.serve, name="pages", daemon=True)
        self.going_on = threading.Thread(target=self.keep_on, name="fetches", daemon=True)

    def __enter__(self) -> Pages:
        self.server = ThreadingHTTPServer((self.our_address, PEER_PAGES), handler(self), bind_and_activate=False)
        self.server.socket.close()
        self.server.socket = self.ours.socket(SOCK_STREAM, (self.our_address, PEER_PAGES))
        self.server.server_activate()
        self.serving.start()
        self.started = time.monotonic()
        try:
            page = until(self.begin, self.limit, f"a page to or from {self.official.name}")
            self.first = time.monotonic()
            if page != self.want:
                raise LabError(f"between {self.official.name} and us came another page than should: {page[:40]!r}")
        except LabError:
            self.stop_serving()
            raise
        self.going_on.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        self.going_on.join()
        self.stop_serving()

    def stop_serving(self) -> None:
        self.server.shutdown()
        self.serving.join()
        self.server.server_close()

    @property
    def seconds_to_first_byte(self) -> float:
        return self.first - self.started

    def serve(self) -> None:
        self.server.serve_forever(poll_interval=AGAIN)

    def keep_on(self) -> None:
        while not self.ending.wait(AGAIN):
            self.begin(SHORT)

    def fetch(self, limit: float | None = None) -> bytes | None:
        return page_of(self.ours, (self.official.address, 80), limit or self.limit)

    def fetch_by_proxy(self, limit: float | None = None) -> bytes | None:
        return page_of(self.theirs, self.official.proxy_to(self.our_address), limit or self.limit)

    def alive(self) -> bool:
        return self.fetch(SHORT) is not None and self.fetch_by_proxy(SHORT) is not None

    def carry(self, payload: bytes, limit: float) -> float | None:
        """From our node to the official client, through its proxy."""
        self.page = payload
        started = time.monotonic()
        if page_of(self.theirs, self.official.proxy_to(self.our_address), limit) != payload:
            return None
        return time.monotonic() - started

    def check(self, note: Note) -> None:
        self.page = b"a page from our node"
        note("page-from-official", self.fetch() == OfficialNode.PAGE.encode(), f"http://{self.official.address}/")
        note("page-to-official", self.fetch_by_proxy() == self.page, f"http://{self.our_address}:{PEER_PAGES}/")


def page_of(space: Inside, address: tuple[str, int], limit: float) -> bytes | None:
    """The body of `/`, asked from inside a namespace; None when there is no good answer."""
    connection = HTTPConnection(*address)
    try:
        connection.sock = space.call(socket, AF_INET, SOCK_STREAM)
        connection.sock.settimeout(limit)
        connection.sock.connect(address)
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == 200 else None


def handler(pages: Pages) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.page
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The scenario tells what matters."""

    return Handler
