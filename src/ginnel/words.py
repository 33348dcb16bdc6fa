"""The nouns that every room uses: keys, endpoints, ids and the two kinds of time.

Room: words. It imports nothing of ginnel. No sockets, clocks, randomness or logs come in; key generation takes
its entropy as an argument.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import total_ordering
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import ClassVar, NewType, Self

from nacl.bindings import crypto_scalarmult_base

Instant = NewType("Instant", float)
"""Seconds of the loop's monotonic clock. Every timer runs on it; it means nothing outside the process."""

WallTime = NewType("WallTime", float)
"""Seconds since 1970, UTC: for TAI64N stamps, key expiry and what people read; never for timers."""

RegionId = NewType("RegionId", int)
"""A DERP region, 1 to 65535; 0 is "no region"."""

NodeId = NewType("NodeId", int)
"""A node's number at its coordination server: above 0, below 2**53, never used again."""

UserId = NewType("UserId", int)

IpAddress = IPv4Address | IPv6Address

KEY_SIZE = 32


class BadKey(ValueError):
    """The text is not a key of the kind asked for. The message never holds the text itself."""


def _read_key(text: str, prefix: str) -> bytes:
    digits = text.removeprefix(prefix)
    if len(digits) == len(text) or len(digits) != 2 * KEY_SIZE:
        raise BadKey(f"expected {prefix} and {2 * KEY_SIZE} hex digits, got {len(text)} characters")
    if not digits.isascii() or not digits.isalnum():
        raise BadKey(f"expected {prefix} and hex digits")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise BadKey(f"expected {prefix} and hex digits") from None


@total_ordering
class PublicKey:
    """32 bytes of X25519 public key. Its kinds differ in type, so that a disco key never passes for a node key.

    Not a dataclass: msgspec would write those as an object with a member `raw` instead of asking for their text."""

    __slots__ = ("raw",)
    raw: bytes
    prefix: ClassVar[str] = ""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_SIZE:
            raise BadKey(f"expected {KEY_SIZE} bytes of key, got {len(raw)}")
        object.__setattr__(self, "raw", bytes(raw))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self.raw,)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `prefix:` and 64 hex digits of either case. Raises BadKey; the empty string is no key."""
        return cls(_read_key(text, cls.prefix))

    def __str__(self) -> str:
        return self.prefix + self.raw.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.short()})"

    def __lt__(self, other: object) -> bool:
        return self.raw < other.raw if isinstance(other, type(self)) else NotImplemented

    def __bool__(self) -> bool:
        """All zeros means "absent" in every structure (tailscale: types/key)."""
        return any(self.raw)

    def short(self) -> str:
        """The form logs use: `[` five characters of base64 `]`."""
        return "[" + base64.b64encode(self.raw)[:5].decode() + "]"

    @classmethod
    def zero(cls) -> Self:
        return cls(bytes(KEY_SIZE))


class MachineKey(PublicKey):
    """Identifies a device to its coordination server; also the server's own Noise key."""

    __slots__ = ()
    prefix: ClassVar[str] = "mkey:"


class NodeKey(PublicKey):
    """WireGuard's static key and the address on a DERP relay."""

    __slots__ = ()
    prefix: ClassVar[str] = "nodekey:"


class DiscoKey(PublicKey):
    """Seals disco messages; new at every start of the process."""

    __slots__ = ()
    prefix: ClassVar[str] = "discokey:"

    def short(self) -> str:
        return "d:" + self.raw[:8].hex()


class ChallengeKey(PublicKey):
    """The server's early-payload challenge."""

    __slots__ = ()
    prefix: ClassVar[str] = "chalpub:"


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """32 bytes of X25519 private key, clamped. It never prints: not in a repr, not in an error."""

    raw: bytes
    prefix: ClassVar[str] = "privkey:"

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_SIZE:
            raise BadKey(f"expected {KEY_SIZE} bytes of private key, got {len(self.raw)}")
        object.__setattr__(self, "raw", clamp(self.raw))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(secret)"

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(_read_key(text, cls.prefix))

    def secret_text(self) -> str:
        """`privkey:` and hex: for state files and nowhere else."""
        return self.prefix + self.raw.hex()


class MachinePrivate(PrivateKey):
    __slots__ = ()

    def public(self) -> MachineKey:
        return MachineKey(crypto_scalarmult_base(self.raw))


class NodePrivate(PrivateKey):
    __slots__ = ()

    def public(self) -> NodeKey:
        return NodeKey(crypto_scalarmult_base(self.raw))


class DiscoPrivate(PrivateKey):
    __slots__ = ()

    def public(self) -> DiscoKey:
        return DiscoKey(crypto_scalarmult_base(self.raw))


def clamp(raw: bytes) -> bytes:
    """RFC 7748 §5: the bits that every X25519 private key has in common."""
    return bytes([raw[0] & 248]) + raw[1:31] + bytes([(raw[31] & 127) | 64])


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A UDP address: `1.2.3.4:41641` or `[2001:db8::1]:41641`. IPv4 inside IPv6 is unmapped when it is made."""

    ip: IpAddress
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 0xFFFF:
            raise ValueError(f"expected a port up to 65535, got {self.port}")
        if isinstance(self.ip, IPv6Address) and self.ip.ipv4_mapped is not None:
            object.__setattr__(self, "ip", self.ip.ipv4_mapped)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ip:port` or `[ip]:port`. Raises ValueError; zones (`%eth0`) are refused."""
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"expected brackets around the address of {text!r}")
        if not colon or not port.isascii() or not port.isdigit() or "%" in host:
            raise ValueError(f"expected ip:port, got {text!r}")
        return cls(ip_address(host), int(port))

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if isinstance(self.ip, IPv6Address) else f"{self.ip}:{self.port}"

    @property
    def is_v4(self) -> bool:
        return isinstance(self.ip, IPv4Address)
