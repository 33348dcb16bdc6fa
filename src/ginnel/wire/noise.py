"""Noise IK as ts2021 uses it: handshake and records (noiseprotocol.org rev 34; tailscale: control/controlbase).

Room: wire. Bytes become messages and back; ephemeral keys are arguments. No sockets, clocks, randomness or logs come
in, and no key goes out in an error or a repr.

    node -> server   initiation  version(2) 0x01 length(2) | e(32) | s(32)+tag(16) | tag(16)     101 bytes
    server -> node   response    0x02 length(2) | e(32) | tag(16)                                 51 bytes
    server -> node   error       0x03 length(2) | text, in the clear, instead of a response
    both             record      0x04 length(2) | ciphertext, at most 4093 bytes of it

The nonce of a record is four zero bytes and a counter in big-endian order. Noise says little-endian, so libraries of
Noise agree with this one in the handshake and in the first record only.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import CryptoError

from ginnel.wire.read import Malformed, Reader, WireError
from ginnel.words import MachineKey, MachinePrivate, clamp

PROTOCOL = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
INITIATION, RESPONSE, ERROR, RECORD = 1, 2, 3, 4
INITIATION_SIZE = 101
RESPONSE_SIZE = 51
HEADER_SIZE = 3
TAG_SIZE = 16
MAX_FRAME = 4096
MAX_CIPHERTEXT = MAX_FRAME - HEADER_SIZE
MAX_PLAINTEXT = MAX_CIPHERTEXT - TAG_SIZE
LAST_COUNTER = 2**64 - 1  # never used: the connection ends first

_ZERO_NONCE = bytes(12)


class NotAuthentic(WireError):
    """The ciphertext does not open: another key, another version, or changed on the way."""


class ServerRefused(WireError):
    """The server answered the initiation with an error frame. Its text is not authenticated."""


def prologue(version: int) -> bytes:
    """What both sides mix in first; `version` is the node's capability version."""
    return b"Tailscale Control Protocol v%d" % version


def _exchange(private: bytes, public: bytes) -> bytes:
    try:
        return crypto_scalarmult(private, public)
    except (RuntimeError, CryptoError):  # libsodium refuses every point that gives all zeros
        raise Malformed("the X25519 key is of low order") from None


class _Handshake:
    """The symmetric state: chaining key and hash. Each key it makes encrypts once, under a zero nonce."""

    __slots__ = ("chain", "hash", "key")

    def __init__(self, version: int, server: bytes) -> None:
        self.chain = self.hash = blake2s(PROTOCOL).digest()
        self.key = b""
        self.mix_hash(prologue(version))
        self.mix_hash(server)

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data).digest()

    def mix_key(self, private: bytes, public: bytes) -> None:
        self.chain, self.key = _hkdf(self.chain, _exchange(private, public))

    def encrypt(self, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self.key).encrypt(_ZERO_NONCE, plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed: bytes, what: str) -> bytes:
        try:
            plaintext = ChaCha20Poly1305(self.key).decrypt(_ZERO_NONCE, sealed, self.hash)
        except InvalidTag:
            raise NotAuthentic(f"{what} does not open") from None
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """(key of node to server, key of server to node)."""
        return _hkdf(self.chain, b"")


def _hkdf(salt: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """RFC 5869 over BLAKE2s with no info, 64 bytes of output in two halves."""
    key = hmac.digest(salt, secret, "blake2s")
    first = hmac.digest(key, b"\x01", "blake2s")
    return first, hmac.digest(key, first + b"\x02", "blake2s")


class Sealer:
    """One direction's outgoing records."""

    __slots__ = ("_cipher", "_counter")

    def __init__(self, key: bytes, counter: int = 0) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._counter = counter

    def record(self, plaintext: bytes | memoryview) -> bytes:
        """One record of at most MAX_PLAINTEXT bytes. Raises WireError when the counter is used up."""
        counter = self._counter
        if counter >= LAST_COUNTER:
            raise WireError("the record counter is used up")
        self._counter = counter + 1
        sealed = self._cipher.encrypt(counter.to_bytes(12, "big"), plaintext, None)
        if len(sealed) > MAX_CIPHERTEXT:
            raise ValueError(f"a record holds {MAX_PLAINTEXT} bytes, got {len(plaintext)}")
        return b"\x04" + len(sealed).to_bytes(2, "big") + sealed

    def seal(self, plaintext: bytes) -> bytes:
        """All of `plaintext`, in as many records as it takes; nothing gives nothing."""
        if len(plaintext) <= MAX_PLAINTEXT:
            return self.record(plaintext) if plaintext else b""
        whole = memoryview(plaintext)
        return b"".join(self.record(whole[at : at + MAX_PLAINTEXT]) for at in range(0, len(whole), MAX_PLAINTEXT))


class Opener:
    """The other direction: a byte stream in any pieces becomes the plaintext of its records."""

    __slots__ = ("_buffer", "_cipher", "_counter")

    def __init__(self, key: bytes, counter: int = 0) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._counter = counter
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each whole record's plaintext, empty ones left out; an unfinished record waits for the next call.

        Exhaust it. Raises WireError at the first record that is not in order; nothing can follow that."""
        data = self._buffer + data if self._buffer else data
        at, end = 0, len(data)
        while end - at >= HEADER_SIZE:
            size = _record_size(data, at)
            if end - at < HEADER_SIZE + size:
                break
            at += HEADER_SIZE + size
            if plaintext := self._open(data[at - size : at]):
                yield plaintext
        self._buffer = data[at:]

    def _open(self, sealed: bytes) -> bytes:
        if self._counter >= LAST_COUNTER:
            raise WireError("the record counter is used up")
        try:
            plaintext = self._cipher.decrypt(self._counter.to_bytes(12, "big"), sealed, None)
        except InvalidTag:
            raise NotAuthentic(f"record {self._counter} does not open") from None
        self._counter += 1
        return plaintext


def _record_size(data: bytes, at: int) -> int:
    kind, size = data[at], int.from_bytes(data[at + 1 : at + HEADER_SIZE], "big")
    if kind != RECORD:
        raise Malformed(f"expected a record, got a frame of type {kind}")
    if not TAG_SIZE <= size <= MAX_CIPHERTEXT:
        raise Malformed(f"expected a record of {TAG_SIZE} to {MAX_CIPHERTEXT} bytes, got {size}")
    return size


@dataclass(frozen=True, slots=True)
class Session:
    """A finished handshake: what seals our records and opens theirs."""

    sealer: Sealer = field(repr=False)
    opener: Opener = field(repr=False)
    handshake_hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An initiation that opened. Anyone can make one: the machine key says who calls, not what they may do."""

    response: bytes
    machine: MachineKey
    version: int
    session: Session


def accept(server: MachinePrivate, ephemeral: bytes, initiation: bytes) -> Accepted:
    """Answer a node's initiation. `ephemeral`: 32 random bytes for this call alone. Raises WireError."""
    read = Reader(initiation)
    version = read.u16()
    read.expect(b"\x01\x00\x60", "the header of an initiation")
    peer_ephemeral, sealed_machine, tag = read.take(32), read.take(48), read.take(TAG_SIZE)
    if read:
        raise Malformed(f"expected {INITIATION_SIZE} bytes of initiation, got {len(initiation)}")
    state = _Handshake(version, server.public().raw)
    state.mix_hash(peer_ephemeral)
    state.mix_key(server.raw, peer_ephemeral)
    machine = state.decrypt(sealed_machine, "the machine key of the initiation")
    state.mix_key(server.raw, machine)
    state.decrypt(tag, "the initiation")
    response = _respond(state, clamp(ephemeral), peer_ephemeral, machine)
    to_server, to_node = state.split()
    return Accepted(response, MachineKey(machine), version, Session(Sealer(to_node), Opener(to_server), state.hash))


def _respond(state: _Handshake, ephemeral: bytes, peer_ephemeral: bytes, machine: bytes) -> bytes:
    public = crypto_scalarmult_base(ephemeral)
    state.mix_hash(public)
    state.mix_key(ephemeral, peer_ephemeral)
    state.mix_key(ephemeral, machine)
    return b"\x02\x00\x30" + public + state.encrypt(b"")


class Initiator:
    """The node's side: `initiation` is sent, `finish` takes the answer. One object serves one handshake."""

    __slots__ = ("_ephemeral", "_machine", "_state", "initiation")

    def __init__(self, machine: MachinePrivate, server: MachineKey, version: int, ephemeral: bytes) -> None:
        """`ephemeral`: 32 random bytes for this handshake alone. Raises WireError if the server's key is bad."""
        self._machine = machine
        self._ephemeral = clamp(ephemeral)
        self._state: _Handshake | None = _Handshake(version, server.raw)
        self.initiation = self._initiate(self._state, server.raw, version)

    def _initiate(self, state: _Handshake, server: bytes, version: int) -> bytes:
        public = crypto_scalarmult_base(self._ephemeral)
        state.mix_hash(public)
        state.mix_key(self._ephemeral, server)
        sealed_machine = state.encrypt(self._machine.public().raw)
        state.mix_key(self._machine.raw, server)
        return version.to_bytes(2, "big") + b"\x01\x00\x60" + public + sealed_machine + state.encrypt(b"")

    def finish(self, response: bytes) -> Session:
        """Read the 51 bytes of the server's response. Raises WireError."""
        state, self._state = self._state, None
        if state is None:
            raise WireError("the handshake is over")
        read = Reader(response)
        read.expect(b"\x02\x00\x30", "the header of a response")
        public, tag = read.take(32), read.take(TAG_SIZE)
        if read:
            raise Malformed(f"expected {RESPONSE_SIZE} bytes of response, got {len(response)}")
        state.mix_hash(public)
        state.mix_key(self._ephemeral, public)
        state.mix_key(self._machine.raw, public)
        state.decrypt(tag, "the response")
        to_server, to_node = state.split()
        return Session(Sealer(to_server), Opener(to_node), state.hash)


def split_answer(data: bytes) -> tuple[bytes, bytes] | None:
    """(response, what follows it), or None while it is not all there. Raises ServerRefused and other WireErrors."""
    if len(data) < HEADER_SIZE:
        return None
    kind, size = data[0], int.from_bytes(data[1:HEADER_SIZE], "big")
    if kind == ERROR:
        if len(data) < HEADER_SIZE + size:
            return None
        raise ServerRefused(f"server error: {data[HEADER_SIZE : HEADER_SIZE + size].decode('utf-8', 'replace')!r}")
    if (kind, size) != (RESPONSE, RESPONSE_SIZE - HEADER_SIZE):
        raise Malformed(f"expected a response of 48 bytes, got a frame of type {kind} and {size} bytes")
    return (data[:RESPONSE_SIZE], data[RESPONSE_SIZE:]) if len(data) >= RESPONSE_SIZE else None


def error_frame(text: str) -> bytes:
    """What a server sends instead of a response, in the clear."""
    body = text.encode()[:0xFFFF]
    return bytes([ERROR]) + len(body).to_bytes(2, "big") + body
