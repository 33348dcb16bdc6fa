"""The local API: what `ginnel` and other programs on this machine may ask the daemon.

Room: shell. Names and shapes are Tailscale's (tailscale: ipn/localapi); `netcheck`, `debug-portmap` and the events of
`watch-ipn-bus` are ours.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import h11
import msgspec

from ginnel.shell.node.local_http import REQUEST_TIME, Answer, Refusal, Request, read_request, write_answer
from ginnel.shell.node.rights import Rights, peer_uid, rights_of
from ginnel.shell.node.state import Prefs
from ginnel.wire.tailcfg import encode

MAX_CONNECTIONS = 128
MAX_READERS = 64  # of them by users who may only look: they must not keep root out
T = TypeVar("T")


class Start(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """`ginnel up`: what to change, and how to log in. Its repr leaves the auth key out."""

    auth_key: str = ""
    force_reauth: bool = False
    update_prefs: Prefs | None = None

    def __repr__(self) -> str:
        return f"Start(force_reauth={self.force_reauth})"


class Backend(Protocol):
    """What the daemon does for its local users. Each may raise Refusal."""

    def status(self, *, peers: bool) -> dict[str, Any]: ...
    def whois(self, address: str) -> dict[str, Any]: ...
    async def ping(self, address: str, size: int) -> dict[str, Any]: ...
    def prefs(self) -> Prefs: ...
    def set_prefs(self, prefs: Prefs) -> None: ...
    def start(self, request: Start) -> None: ...
    def login_interactive(self) -> None: ...
    async def logout(self) -> None: ...
    def derp_map(self) -> dict[str, Any]: ...
    async def netcheck(self, *, full: bool, verbose: bool) -> dict[str, Any]: ...
    def watch(self) -> AsyncIterator[dict[str, Any]]: ...
    async def port_mapping(self) -> dict[str, Any]: ...
    def inside(self) -> dict[str, Any]: ...
    async def doctor(self, peer: str, regions: str) -> dict[str, Any]: ...
    def doctor_at_once(self) -> dict[str, Any]: ...


Handler = Callable[["LocalApi", Request], Awaitable[Answer]]


class LocalApi:
    """Serves connections of one listening socket until cancelled."""

    def __init__(self, backend: Backend, *, credentials: Callable[[socket.socket], int | None] = peer_uid) -> None:
        self._backend = backend
        self._credentials = credentials
        self._open: set[asyncio.Task[None]] = set()
        self._readers: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_unix_server(self._connected, sock=listener)
        async with server:
            try:
                await server.serve_forever()
            finally:
                for task in self._open:
                    task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        rights = rights_of(self._credentials(writer.get_extra_info("socket")))
        self._open.add(task)
        if rights is Rights.READ:
            self._readers.add(task)
        try:
            if len(self._open) <= MAX_CONNECTIONS and (rights is Rights.WRITE or len(self._readers) <= MAX_READERS):
                await self._converse(reader, writer, rights)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            return  # the client is gone, or was too slow, or the daemon stops
        finally:
            self._open.discard(task)
            self._readers.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rights: Rights) -> None:
        http = h11.Connection(h11.SERVER)
        try:
            async with asyncio.timeout(REQUEST_TIME):
                request = await read_request(http, reader, rights)
            answer = await _while_open(reader, self.answer(request))
        except Refusal as refusal:
            answer = _json({"error": str(refusal)}, refusal.status)
        await _while_open(reader, write_answer(http, writer, answer))

    async def answer(self, request: Request) -> Answer:
        """Raises Refusal: 404 unknown, 405 wrong method, 403 not for this user."""
        methods = ROUTES.get(request.name)
        if methods is None:
            raise Refusal(404, f"no such endpoint: {request.name[:40]!r}")
        if request.method not in methods:
            raise Refusal(405, f"expected {' or '.join(methods)}")
        needed, handler = methods[request.method]
        if needed is Rights.WRITE and request.rights is not Rights.WRITE:
            raise Refusal(403, "only root may do this: repeat the command with sudo")
        return await handler(self, request)

    # --- endpoints ---------------------------------------------------------------------------------------------

    async def _status(self, request: Request) -> Answer:
        status = self._backend.status(peers=request.query.get("peers") != "false")
        return _json(_for_reader(status, request.rights))

    async def _whois(self, request: Request) -> Answer:
        return _json(self._backend.whois(request.query.get("addr", "")))

    async def _ping(self, request: Request) -> Answer:
        if request.query.get("type", "disco") != "disco":
            raise Refusal(400, "only pings of type disco are known")
        size = request.query.get("size", "0")
        if not size.isascii() or not size.isdigit() or int(size) > 9000:
            raise Refusal(400, "expected a size up to 9000")
        return _json(await self._backend.ping(request.query.get("ip", ""), int(size)))

    async def _prefs(self, _: Request) -> Answer:
        return _json(self._backend.prefs())

    async def _set_prefs(self, request: Request) -> Answer:
        self._backend.set_prefs(_masked(self._backend.prefs(), request.body))
        return _json(self._backend.prefs())

    async def _start(self, request: Request) -> Answer:
        self._backend.start(_decode(Start, request.body or b"{}"))
        return Answer(204)

    async def _login_interactive(self, _: Request) -> Answer:
        self._backend.login_interactive()
        return Answer(204)

    async def _logout(self, _: Request) -> Answer:
        await self._backend.logout()
        return Answer(204)

    async def _derp_map(self, _: Request) -> Answer:
        return _json(self._backend.derp_map())

    async def _netcheck(self, request: Request) -> Answer:
        full, verbose = request.query.get("full") != "false", request.query.get("verbose") == "true"
        return _json(await self._backend.netcheck(full=full, verbose=verbose))

    async def _watch(self, request: Request) -> Answer:
        async def lines() -> AsyncIterator[bytes]:
            async for event in self._backend.watch():
                yield encode(_for_reader(event, request.rights)) + b"\n"

        return Answer(lines=lines())

    async def _port_mapping(self, _: Request) -> Answer:
        return _json(await self._backend.port_mapping())

    async def _doctor(self, request: Request) -> Answer:
        asked = request.query
        if asked.get("brief") == "true":
            return _json(self._backend.doctor_at_once())
        return _json(await self._backend.doctor(asked.get("peer", ""), asked.get("region", "")))

    async def _inside(self, _: Request) -> Answer:
        return _json(self._backend.inside())


ROUTES: dict[str, dict[str, tuple[Rights, Handler]]] = {
    "status": {"GET": (Rights.READ, LocalApi._status)},
    "whois": {"GET": (Rights.READ, LocalApi._whois)},
    "ping": {"POST": (Rights.READ, LocalApi._ping)},
    "prefs": {"GET": (Rights.READ, LocalApi._prefs), "PATCH": (Rights.WRITE, LocalApi._set_prefs)},
    "start": {"POST": (Rights.WRITE, LocalApi._start)},
    "login-interactive": {"POST": (Rights.WRITE, LocalApi._login_interactive)},
    "logout": {"POST": (Rights.WRITE, LocalApi._logout)},
    "derpmap": {"GET": (Rights.READ, LocalApi._derp_map)},
    "netcheck": {"POST": (Rights.READ, LocalApi._netcheck)},
    "watch-ipn-bus": {"GET": (Rights.READ, LocalApi._watch)},
    "debug-portmap": {"POST": (Rights.READ, LocalApi._port_mapping)},
    "doctor": {"GET": (Rights.READ, LocalApi._doctor)},
    "debug-inside": {"GET": (Rights.READ, LocalApi._inside)},
}


async def _while_open(reader: asyncio.StreamReader, work: Coroutine[Any, Any, T]) -> T:
    """Do the work until the client hangs up: an endless stream would not notice it, nor would a long ping."""
    working = asyncio.ensure_future(work)
    closed = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({working, closed}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ConnectionResetError("the client closed")
        return working.result()
    finally:
        for task in (working, closed):
            task.cancel()
        await asyncio.gather(working, closed, return_exceptions=True)


def _for_reader(answer: dict[str, Any], rights: Rights) -> dict[str, Any]:
    """A login address is a capability: whoever opens it owns the machine. Only those who may log in see it."""
    if rights is Rights.WRITE or not answer.get("AuthURL"):
        return answer
    return answer | {"AuthURL": ""}


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, encode(value))


def _decode(kind: type[T], body: bytes) -> T:
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(body, type=kind)
    raise Refusal(400, f"the body is not a {kind.__name__} object")


def _masked(prefs: Prefs, body: bytes) -> Prefs:
    """Tailscale's masked prefs: a member counts where `<name>Set` is true."""
    members = _decode(dict[str, Any], body)
    known = msgspec.to_builtins(prefs)
    for name in known:
        if members.get(f"{name}Set") is True and name in members:
            known[name] = members[name]
    with suppress(msgspec.MsgspecError):
        return msgspec.convert(known, Prefs)
    raise Refusal(400, "a member of the prefs has the wrong type")
