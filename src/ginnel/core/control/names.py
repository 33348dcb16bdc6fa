"""The DNS label of each node: from its host name, made unique, unless an admin chose it (tailscale: util/dnsname).

Room: core. No sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ginnel.words import NodeId

MAX_LABEL = 63
COMMON_SUFFIXES = (".local", ".localdomain", ".lan")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NOT_ALNUM_ENDS = re.compile(r"^[^a-z0-9]+|[^a-z0-9]+$")
_SEPARATORS = re.compile(r"[ .@_]")
_NOT_IN_LABELS = re.compile(r"[^a-z0-9-]+")


class NameRefused(Exception):
    """An admin's choice cannot be. str() is one line that says why."""


def sanitize(hostname: str) -> str:
    """A label of letters, digits and inner dashes, 63 at most; `node` where nothing is left."""
    name = "".join(letter for letter in hostname if letter.isascii()).lower()
    for suffix in COMMON_SUFFIXES:
        name = name.removesuffix(suffix)
    name = _SEPARATORS.sub("-", _NOT_ALNUM_ENDS.sub("", name))
    return _shorten(_NOT_IN_LABELS.sub("", name), MAX_LABEL) or "node"


def _shorten(name: str, size: int) -> str:
    return _NOT_ALNUM_ENDS.sub("", name[:size])


class Names:
    """Labels in use. A node keeps its label while its host name says the same, and whatever an admin chose.

    `stored`: node, label, whether an admin chose it; as kept by the server. Of two equal labels the later is left
    out: that node gets another at its next `give`.
    """

    def __init__(self, stored: Iterable[tuple[NodeId, str, bool]] = ()) -> None:
        self._owner: dict[str, NodeId] = {}
        self._label: dict[NodeId, str] = {}
        self._chosen: set[NodeId] = set()
        self._next: dict[str, int] = {}  # by the sanitised name: below this number all suffixes were taken
        for node_id, label, by_admin in stored:
            if label not in self._owner and node_id not in self._label and _LABEL.fullmatch(label):
                self._enter(node_id, label)
                if by_admin:
                    self._chosen.add(node_id)

    def give(self, node_id: NodeId, hostname: str) -> str:
        """The node's label, given its host name of now."""
        current, base = self._label.get(node_id), sanitize(hostname)
        if current is not None and (node_id in self._chosen or _is_from(current, base)):
            return current
        self._leave(node_id)
        return self._enter(node_id, self._unique(base))

    def choose(self, node_id: NodeId, label: str) -> str:
        """An admin names the node. Raises NameRefused, and then nothing changed."""
        label = label.lower()
        if not _LABEL.fullmatch(label):
            raise NameRefused(f"{label[:70]!r} is no DNS label: write letters, digits and inner dashes, 63 at most")
        if self._owner.get(label, node_id) != node_id:
            raise NameRefused(f"{label!r} is the name of node {self._owner[label]}: rename that one first")
        self._leave(node_id)
        self._chosen.add(node_id)
        return self._enter(node_id, label)

    def unchoose(self, node_id: NodeId, hostname: str) -> str:
        """Back to a label from the host name."""
        self._chosen.discard(node_id)
        return self.give(node_id, hostname)

    def release(self, node_id: NodeId) -> None:
        """The node is gone."""
        self._chosen.discard(node_id)
        self._leave(node_id)

    def _unique(self, base: str) -> str:
        if base not in self._owner:
            return base
        number = self._next.get(base, 1)
        while (label := _numbered(base, number)) in self._owner:
            number += 1
        self._next[base] = number + 1
        return label

    def _enter(self, node_id: NodeId, label: str) -> str:
        self._owner[label] = node_id
        self._label[node_id] = label
        return label

    def _leave(self, node_id: NodeId) -> None:
        label = self._label.pop(node_id, None)
        if label is None:
            return
        del self._owner[label]
        base, _, number = label.rpartition("-")
        if base in self._next and number.isdecimal():
            self._next[base] = max(1, min(self._next[base], int(number)))
        self._next.pop(label, None)


def _numbered(base: str, number: int) -> str:
    suffix = f"-{number}"
    return _shorten(base, MAX_LABEL - len(suffix)) + suffix


def _is_from(label: str, base: str) -> bool:
    """Whether the label is the host name's, plain or numbered."""
    if label == base:
        return True
    _, dash, number = label.rpartition("-")
    return bool(dash) and number.isdecimal() and not number.startswith("0") and label == _numbered(base, int(number))
