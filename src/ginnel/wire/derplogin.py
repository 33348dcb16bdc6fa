"""How a DERP connection begins: the HTTP upgrade, then two sealed introductions (tailscale: derp/derp_client.go,
derp/derphttp/derphttp_client.go).

Room: wire. Bytes become messages and back; nonces are arguments. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

import msgspec
from nacl.bindings import crypto_box, crypto_box_open
from nacl.exceptions import CryptoError

from ginnel.wire.derp import NONCE_SIZE, PROTOCOL_VERSION, ClientInfo, ServerInfo
from ginnel.wire.read import Malformed
from ginnel.wire.tailcfg import decode_request, encode
from ginnel.words import NodeKey, NodePrivate

HEAD_LIMIT = 16 << 10


class Introduction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of ClientInfo. Member names are Go's; case does not matter on input, underscores do."""

    version: int = 0
    mesh_key: str = msgspec.field(default="", name="meshKey")
    can_ack_pings: bool = msgspec.field(default=False, name="CanAckPings")
    is_prober: bool = msgspec.field(default=False, name="IsProber")
    app_name: str = msgspec.field(default="", name="AppName")

    def __repr__(self) -> str:
        mesh = "secret" if self.mesh_key else "none"
        return f"Introduction(version={self.version}, mesh_key={mesh}, app_name={self.app_name!r})"


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of ServerInfo. With a token bucket the client drops what it would send above it."""

    version: int = 0
    bytes_per_second: int = msgspec.field(default=0, name="TokenBucketBytesPerSecond")
    bytes_burst: int = msgspec.field(default=0, name="TokenBucketBytesBurst")


def seal_client_info(own: NodePrivate, relay: NodeKey, introduction: Introduction, nonce: bytes) -> ClientInfo:
    """`nonce`: 24 random bytes for this message alone. Raises Malformed if the relay's key is of low order."""
    return ClientInfo(own.public(), nonce, _seal(encode(introduction), nonce, relay, own))


def open_client_info(relay: NodePrivate, info: ClientInfo) -> Introduction:
    """Raises WireError unless the client holds the private key of `info.key`."""
    return decode_request(Introduction, _open(info.sealed, info.nonce, info.key, relay))


def seal_server_info(relay: NodePrivate, client: NodeKey, terms: Terms, nonce: bytes) -> ServerInfo:
    return ServerInfo(nonce, _seal(encode(terms), nonce, client, relay))


def open_server_info(own: NodePrivate, relay: NodeKey, info: ServerInfo) -> Terms:
    """Raises WireError unless the relay holds the private key of `relay`."""
    return decode_request(Terms, _open(info.sealed, info.nonce, relay, own))


def introduction(*, app_name: str = "") -> Introduction:
    """What a client of ours says of itself."""
    return Introduction(version=PROTOCOL_VERSION, can_ack_pings=True, app_name=app_name)


def _seal(message: bytes, nonce: bytes, to: NodeKey, own: NodePrivate) -> bytes:
    if len(nonce) != NONCE_SIZE:
        raise ValueError(f"expected {NONCE_SIZE} bytes of nonce, got {len(nonce)}")
    try:
        return crypto_box(message, nonce, to.raw, own.raw)
    except (RuntimeError, CryptoError):
        raise Malformed("the node key is of low order") from None


def _open(sealed: bytes, nonce: bytes, sender: NodeKey, own: NodePrivate) -> bytes:
    try:
        return crypto_box_open(sealed, nonce, sender.raw, own.raw)
    except (RuntimeError, CryptoError, ValueError):
        raise Malformed("the introduction does not open with this key") from None


def upgrade_request(host: str, *, fast_start: bool = False, ideal_node: str = "") -> bytes:
    """The head of the request. `host`: HostName of the node, with the port unless it is the scheme's. `fast_start`: the
    relay showed its key in TLS and answers without a 101. `ideal_node`: the region's first node, if this is another."""
    lines = ["GET /derp HTTP/1.1", f"Host: {host}", "User-Agent: ginnel", "Connection: Upgrade", "Upgrade: DERP"]
    if fast_start:
        lines.append("Derp-Fast-Start: 1")
    if ideal_node:
        lines.append(f"Ideal-Node: {ideal_node}")
    if any(ord(letter) < 0x20 or ord(letter) > 0x7E for line in lines for letter in line):
        raise ValueError("a host name holds printable ASCII only")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def read_upgrade_answer(data: bytes) -> bytes | None:
    """What follows the head of a 101, or None while the head is not all there. Raises Malformed for a refusal."""
    end = data.find(b"\r\n\r\n")
    if end > HEAD_LIMIT or (end < 0 and len(data) > HEAD_LIMIT):
        raise Malformed(f"the head of the relay's answer is longer than {HEAD_LIMIT} bytes")
    if end < 0:
        return None
    status, *fields = data[:end].decode("latin-1").split("\r\n")
    if status.split(" ")[:2] not in (["HTTP/1.1", "101"], ["HTTP/1.0", "101"]):
        raise Malformed(f"the relay answered {status[:80]!r}, not 101")
    headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    if headers.get("upgrade", "").lower() != "derp":
        raise Malformed("the relay switched to another protocol than DERP")
    return data[end + 4 :]
