"""One TCP connection, with TLS or without, that remembers what came: so that a step that fails leaves evidence.

Room: shell. TLS runs over memory, hence the raw bytes of a failed handshake are known too. Every step has its time and
its most bytes.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Self

from ginnel.core.firewall.certificate import printable, read_leaf
from ginnel.core.firewall.evidence import RECEIVED_KEPT, Ending, Evidence, Leaf, Step
from ginnel.shell.node.dial import prepare
from ginnel.shell.probe.trouble import Trouble, ending_of
from ginnel.shell.probe.trust import Trust
from ginnel.wire.read import Malformed, WireError

READ = 16 << 10
HANDSHAKE_LIMIT = 256 << 10
PLAIN_HTTP = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})")


class Broken(Exception):
    """A step did not end well."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(f"{evidence.step}: {evidence.ending}")
        self.evidence = evidence


class Line:
    """Made by `connect`. Within `step` any trouble becomes Broken, with the evidence."""

    def __init__(self, connected: socket.socket) -> None:
        self.leaf: Leaf | None = None
        self.pinned = False
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._received = bytearray()
        self._count = 0
        self._began = 0.0

    @classmethod
    async def connect(cls, address: str, port: int, *, mark: int, patience: float, segment: int = 0) -> Self:
        """`segment`: the largest TCP segment to ask for, 0: the system's. Raises Broken."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        loop = asyncio.get_running_loop()
        began = loop.time()
        made: socket.socket | None = None
        try:
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            prepare(made, mark)
            if segment:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
            async with asyncio.timeout(patience):
                await loop.sock_connect(made, (address, port))
            line, made = cls(made), None
            return line
        except (OSError, ValueError) as error:
            ending, words = ending_of(error)
            raise Broken(Evidence(Step.CONNECT, ending, loop.time() - began, words)) from None
        finally:
            if made is not None:
                made.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return self._loop.time() - self._began

    @property
    def received(self) -> bytes:
        """The first bytes of this step."""
        return bytes(self._received)

    def evidence(self, step: Step, ending: Ending, error: str = "") -> Evidence:
        return Evidence(
            step,
            ending,
            self.seconds,
            printable(error),
            bytes(self._received),
            self._count,
            leaf=self.leaf,
            pinned=self.pinned,
        )

    @asynccontextmanager
    async def step(self, step: Step, patience: float) -> AsyncIterator[None]:
        self._received.clear()
        self._count, self._began = 0, self._loop.time()
        try:
            async with asyncio.timeout(patience):
                yield
        except (OSError, EOFError, WireError, ValueError) as error:
            raise Broken(self._failed(step, error)) from None

    def _failed(self, step: Step, error: Trouble) -> Evidence:
        ending, words = ending_of(error)
        evidence = self.evidence(step, ending, words)
        if step is Step.TLS and ending is Ending.ANSWER and (found := PLAIN_HTTP.match(self._received)):
            return replace(evidence, status=int(found[1]), html=b"<html" in self._received.lower())
        if ending is Ending.CERTIFICATE:
            return replace(evidence, problem=words)
        return evidence

    # --- TLS ---------------------------------------------------------------------------------------------------------

    async def secure(self, trust: Trust, *, patience: float, name: str | None = None) -> None:
        """The handshake, and the judgement of the certificate. `name`: for SNI, "" sends none; None: the trust's own.
        Raises Broken."""
        async with self.step(Step.TLS, patience):
            server = trust.name if name is None else name
            self._tls = trust.context.wrap_bio(self._in, self._out, server_hostname=server or None)
            await self._shake(self._tls)
            der = self._tls.getpeercert(binary_form=True) or b""
            leaf = self.leaf = read_leaf(der, trust.host)
            self.pinned = trust.pinned
            trust.check(der, leaf, time.time())

    async def _shake(self, tls: ssl.SSLObject) -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
                if self._count > HANDSHAKE_LIMIT:
                    raise Malformed(f"a handshake of more than {HANDSHAKE_LIMIT} bytes") from None
            except ssl.SSLError:
                with suppress(OSError):
                    await self._flush()  # the alert: the other end should know why
                raise
            else:
                await self._flush()
                return

    async def _feed(self) -> None:
        data = await self._loop.sock_recv(self._socket, READ)
        if not data:
            raise EOFError
        self._note(data)
        self._in.write(data)

    def _note(self, data: bytes) -> None:
        self._count += len(data)
        self._received += data[: RECEIVED_KEPT - len(self._received)]

    async def _flush(self) -> None:
        if self._out.pending:
            await self._loop.sock_sendall(self._socket, self._out.read())

    # --- bytes -------------------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        if self._tls is None:
            await self._loop.sock_sendall(self._socket, data)
        else:
            self._tls.write(data)
            await self._flush()

    async def receive(self) -> bytes:
        """What comes next; raises EOFError at the end."""
        data = await (self._loop.sock_recv(self._socket, READ) if self._tls is None else self._decrypted(self._tls))
        if not data:
            raise EOFError
        self._note(data)
        return data

    async def _decrypted(self, tls: ssl.SSLObject) -> bytes:
        while True:
            try:
                return tls.read(READ)
            except ssl.SSLWantReadError:
                await self._flush()
                self._in.write(await self._raw())
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise EOFError from None

    async def _raw(self) -> bytes:
        data = await self._loop.sock_recv(self._socket, READ)
        if not data:
            raise EOFError
        return data
