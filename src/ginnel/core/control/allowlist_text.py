"""The feed as plain lists, one entry a line, for firewalls that fetch lists by themselves (external dynamic lists).

Room: core. Pure. No comments and no blank lines: not every firewall skips them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ginnel.wire.allowlist import Entry, Feed


def text_of(feed: Feed, level: str, family: str = "") -> bytes:
    """`level`: "l3" for addresses, of one `family` or both; "sni" for the names that clients put into TLS; "fqdn" for
    those that a firewall resolves by itself. b"" where there are none."""
    lines = _addresses(feed.allowed(), family) if level == "l3" else _names(feed.allowed(), level)
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode()


def _addresses(entries: Iterable[Entry], family: str) -> Iterator[str]:
    found = {address for entry in entries for address in entry.addresses}
    for address in sorted(found, key=lambda ip: (ip.version, ip.packed)):
        if not family or str(address.version) == family:
            yield str(address)


def _names(entries: Iterable[Entry], level: str) -> Iterator[str]:
    """A region's `-all` name stands for its relays: who resolves it needs the others no more."""
    entries = list(entries)
    with_all = {entry.region for entry in entries if entry.role == "relay" and entry.level == "L3" and entry.name}
    for entry in entries:
        if not entry.name or (level == "sni" and entry.level == "L3"):
            continue
        if level == "fqdn" and entry.level == "SNI" and entry.region in with_all:
            continue
        yield entry.name
