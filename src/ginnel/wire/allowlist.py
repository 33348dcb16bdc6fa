"""The allowlist feed: what firewalls have to let through for a mesh, signed by its server (a format of this project,
docs/protocol/allowlist-feed.md).

Room: wire. Bytes become messages and back. No sockets, clocks, randomness or logs come in.

    {"signed": "<a JSON document, as text>", "key": "feedkey:<hex>", "signature": "<base64>"}

`signed` is a string with the document's text in it, not an object: what was signed are that string's own UTF-8 bytes,
so nobody has to agree on how JSON is spelled. `key` only says which key it was; a reader knows the key beforehand.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, ClassVar, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ginnel.wire.read import Malformed, WireError
from ginnel.words import KEY_SIZE, BadKey, IpAddress, PublicKey, WallTime

VERSION = 1
CONTEXT = b"ginnel allowlist feed 1\n"
"""Stands before what is signed, so that the key's signatures are good for feeds alone."""

PRIVATE_PREFIX = "feedprivate:"
MAX_BYTES = 16 << 20
MAX_ENTRIES = 32768
MAX_PER_ENTRY = 1024  # addresses of one family, and ports

Level = Literal["L3", "SNI"]
Role = Literal["control", "login", "log", "relay"]
Stability = Literal["slow", "fast"]

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_PORT = re.compile(r"([1-9][0-9]{0,4})/(tcp|udp)")
_CODE = re.compile(r"[A-Za-z0-9_.-]{0,64}")


class FeedRefused(WireError):
    """A feed that must not be used: keep the last good one. `why`: for counters."""

    def __init__(self, why: Literal["signature", "rollback", "expired"], text: str) -> None:
        super().__init__(text)
        self.why = why


class FeedKey(PublicKey):
    """The Ed25519 key of a server's feeds."""

    __slots__ = ()
    prefix: ClassVar[str] = "feedkey:"


@dataclass(frozen=True, slots=True)
class FeedPrivate:
    """32 bytes of Ed25519 seed. It is in no repr."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != KEY_SIZE:
            raise ValueError(f"expected {KEY_SIZE} bytes of seed, got {len(self.seed)}")

    @classmethod
    def parse(cls, text: str) -> FeedPrivate:
        """Raises BadKey, whose message does not hold the text."""
        found = re.fullmatch(rf"{PRIVATE_PREFIX}([0-9a-f]{{{2 * KEY_SIZE}}})", text)
        if found is None:
            raise BadKey(f"expected {PRIVATE_PREFIX} and {2 * KEY_SIZE} hex digits, got {len(text)} characters")
        return cls(bytes.fromhex(found[1]))

    def secret_text(self) -> str:
        """For the state file and nowhere else."""
        return PRIVATE_PREFIX + self.seed.hex()

    def public(self) -> FeedKey:
        return FeedKey(Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(CONTEXT + message)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the allowlist. `name`: lower-case FQDN without a final dot, "" where there are addresses alone.
    `level`: SNI: clients put the name into TLS; L3: it stands for addresses alone (`derpN-all`). `ports`: such as
    "443/tcp". `ipv4`, `ipv6`: sorted; () where only DNS knows. `region`: of a relay, else 0. `node`: a relay's name in
    the map, "" for a whole region. `use_after`: of a pending entry, no map names it before; `until`: of a leaving one,
    when it goes; 0 elsewhere."""

    name: str
    level: Level
    role: Role
    ports: tuple[str, ...]
    ipv4: tuple[IPv4Address, ...] = ()
    ipv6: tuple[IPv6Address, ...] = ()
    stability: Stability = "slow"
    region: int = 0
    region_code: str = ""
    node: str = ""
    use_after: int = 0
    until: int = 0

    @property
    def addresses(self) -> tuple[IpAddress, ...]:
        return (*self.ipv4, *self.ipv6)


@dataclass(frozen=True, slots=True)
class Feed:
    """`serial` rises with each change of the entries. `entries` are in use; `pending` will be, and must be let through
    already; `leaving` were, and clients may still use them. Times in seconds since 1970."""

    server: str
    serial: int
    made: int
    expires: int
    entries: tuple[Entry, ...]
    pending: tuple[Entry, ...] = ()
    leaving: tuple[Entry, ...] = ()

    def allowed(self) -> Iterator[Entry]:
        """All that a firewall has to let through now: in use, announced, and on its way out."""
        yield from self.entries
        yield from self.pending
        yield from self.leaving


# --- as JSON -----------------------------------------------------------------------------------------------------

_Kind = TypeVar("_Kind")
_Ip = TypeVar("_Ip", IPv4Address, IPv6Address)
_Text = Annotated[str, msgspec.Meta(max_length=256)]
_Texts = Annotated[list[_Text], msgspec.Meta(max_length=MAX_PER_ENTRY)]
_Seconds = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class _EntryJson(msgspec.Struct, frozen=True, omit_defaults=True):
    name: _Text
    level: Level
    role: Role
    ports: _Texts
    ipv4: _Texts = []
    ipv6: _Texts = []
    stability: Stability = "slow"
    region: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] = 0
    region_code: _Text = ""
    node: _Text = ""
    use_after: _Seconds = 0
    until: _Seconds = 0


_Entries = Annotated[list[_EntryJson], msgspec.Meta(max_length=MAX_ENTRIES)]


class _FeedJson(msgspec.Struct, frozen=True):
    version: int
    server: _Text
    serial: _Seconds
    made: _Seconds
    expires: _Seconds
    entries: _Entries
    pending: _Entries = []
    leaving: _Entries = []


class _Envelope(msgspec.Struct, frozen=True):
    signed: str
    signature: _Text
    key: _Text = ""


def sign_feed(feed: Feed, private: FeedPrivate) -> bytes:
    """The feed as a server sends it."""
    lists = [list(map(_entry_json, entries)) for entries in (feed.entries, feed.pending, feed.leaving)]
    document = _FeedJson(VERSION, feed.server, feed.serial, feed.made, feed.expires, *lists)
    signed = msgspec.json.encode(document)
    signature = base64.b64encode(private.sign(signed)).decode()
    return msgspec.json.encode(_Envelope(signed.decode(), signature, str(private.public()))) + b"\n"


def verify_feed(data: bytes, key: FeedKey, last_serial: int, now: WallTime) -> Feed:
    """The feed in what a server, or anybody between, sent. `last_serial`: the highest accepted before, 0 at first.

    Raises FeedRefused for a signature that is not `key`'s, a serial below the last (an older feed played again) and a
    feed whose time is over; Malformed for what is no feed at all. Either way the last good one stays in use."""
    envelope = _decoded(data, _Envelope)
    signed = envelope.signed.encode("utf-8", "replace")  # half a surrogate pair was never signed
    _check_signature(signed, envelope, key)
    feed = _feed(_decoded(signed, _FeedJson))
    if feed.serial < last_serial:
        raise FeedRefused("rollback", f"the feed is an older one: serial {feed.serial}, {last_serial} was seen before")
    if now > feed.expires:
        raise FeedRefused(
            "expired", f"the feed's time was over {round(now - feed.expires)} s ago, or the clock is wrong"
        )
    return feed


def _check_signature(signed: bytes, envelope: _Envelope, key: FeedKey) -> None:
    try:
        signature = base64.b64decode(envelope.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, CONTEXT + signed)
    except (InvalidSignature, binascii.Error, ValueError):
        other = envelope.key not in ("", str(key)) and re.fullmatch(r"feedkey:[0-9a-f]{64}", envelope.key)
        why = f"it says it is signed by {envelope.key}, expected {key}" if other else f"it is not signed by {key}"
        raise FeedRefused("signature", f"the feed is refused: {why}") from None


def _decoded(data: bytes, kind: type[_Kind]) -> _Kind:
    if len(data) > MAX_BYTES:
        raise Malformed(f"expected an allowlist feed of at most {MAX_BYTES} bytes, got {len(data)}")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Malformed(f"expected an allowlist feed: {str(error)[:200]}") from None


def _feed(read: _FeedJson) -> Feed:
    if read.version != VERSION:
        raise Malformed(f"expected version {VERSION} of the allowlist feed, got {read.version}")
    lists = [tuple(map(_entry, entries)) for entries in (read.entries, read.pending, read.leaving)]
    return Feed(read.server, read.serial, read.made, read.expires, *lists)


def _entry_json(entry: Entry) -> _EntryJson:
    return _EntryJson(
        entry.name, entry.level, entry.role, list(entry.ports),
        [str(ip) for ip in entry.ipv4], [str(ip) for ip in entry.ipv6], entry.stability,
        entry.region, entry.region_code, entry.node, entry.use_after, entry.until,
    )  # fmt: skip


def _entry(read: _EntryJson) -> Entry:
    """A signature says who, not that it is harmless: what is written here goes into firewalls."""
    if read.name and not is_feed_name(read.name):
        raise Malformed(f"{read.name[:80]!r} in the feed is no host name")
    if not (read.name or read.ipv4 or read.ipv6):
        raise Malformed("an entry of the feed has neither a name nor an address")
    for port in read.ports:
        found = _PORT.fullmatch(port)
        if found is None or int(found[1]) > 65535:
            raise Malformed(f"{port[:40]!r} in the feed is no port such as 443/tcp")
    if not _CODE.fullmatch(read.region_code) or not _CODE.fullmatch(read.node):
        raise Malformed("a region's code or a relay's name in the feed has characters that are not allowed")
    ipv4, ipv6 = _addresses(read.ipv4, IPv4Address), _addresses(read.ipv6, IPv6Address)
    return Entry(
        read.name, read.level, read.role, tuple(read.ports), ipv4, ipv6, read.stability,
        read.region, read.region_code, read.node, read.use_after, read.until,
    )  # fmt: skip


def is_feed_name(name: str) -> bool:
    """A lower-case FQDN of letters, digits, hyphens and underscores, without a final dot; nothing that looks like an
    address or begins like an option."""
    return _NAME.fullmatch(name) is not None and not name.rpartition(".")[2].isdigit()


def _addresses(texts: list[str], kind: type[_Ip]) -> tuple[_Ip, ...]:
    try:
        found = tuple(map(partial(_address, kind), texts))
    except ValueError:
        raise Malformed("an address in the feed is none of its family") from None
    return found


def _address(kind: type[_Ip], text: str) -> _Ip:
    if "%" in text:
        raise ValueError(text)
    return kind(text)
