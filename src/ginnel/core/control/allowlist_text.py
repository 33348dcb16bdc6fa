"""The feed as plain lists, one entry a line, for firewalls that fetch lists by themselves (external dynamic lists).

Room: core. Pure. No comments and no blank lines: not every firewall skips them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ginnel.wire.allowlist import Entry, Feed


def text_of(feed: Feed, level: str, family: str = "") -> bytes:
    """`level`: "l3" for addresses, of one `family` or both; "sni" for the names that clients put into TLS; "fqdn" for
    those that a firewall resolves by itself. b"" where there are none."""
    if level == "l3":
        lines = _addresses(feed.allowed(), family)
    elif level == "sni":
        lines = (entry.name for entry in feed.allowed() if entry.name and entry.level == "SNI")
    else:
        lines = _to_resolve(feed)
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode()


def _addresses(entries: Iterable[Entry], family: str) -> Iterator[str]:
    found = {address for entry in entries for address in entry.addresses}
    for address in sorted(found, key=lambda ip: (ip.version, ip.packed)):
        if not family or str(address.version) == family:
            yield str(address)


def _to_resolve(feed: Feed) -> Iterator[str]:
    """A region's `-all` name stands for its relays that are in use. One that is announced, or leaves, is not in it."""
    whole = {entry.region for entry in feed.entries if entry.role == "relay" and entry.level == "L3" and entry.name}
    for entry in feed.entries:
        if entry.name and not (entry.role == "relay" and entry.level == "SNI" and entry.region in whole):
            yield entry.name
    yield from (entry.name for entry in (*feed.pending, *feed.leaving) if entry.name)
