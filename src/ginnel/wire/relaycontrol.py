"""What a relay and its coordination server tell each other inside the control channel (a protocol of this project).

Room: wire. JSON bytes become messages and back. No sockets, clocks, randomness or logs come in.

    relay                                              server
      POST /machine/relay/register  RelayHello      ->
                                                    <-   RelayWelcome
      POST /machine/relay/stream                    ->
                                                    <-   RelayOrder, framed and compressed as maps are, without end
      POST /machine/relay/report    RelayReport     ->
                                                    <-   RelayWelcome

A relay is known by the machine key of its channel. Member lists are long, so a whole one comes in pieces: the first has
`begin`, the last `complete`, and only then it counts.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ginnel.wire.tailcfg import DERPNode, Int, Message
from ginnel.words import NodeKey

MEMBERS_PER_MESSAGE = 10_000
RelayState = Literal["", "probing", "in map", "out", "draining", "drained", "removed"]
"""As the relay is told; "": unchanged."""

ShortText = Annotated[str, msgspec.Meta(max_length=1024)]


class RelayHello(Message, frozen=True):
    """`token`: the one-shot secret, at the first registration alone. `node`: as it is to stand in the DERP map; its
    name and region are the server's to give. `mesh`: it can be meshed with others."""

    key: NodeKey
    node: DERPNode
    token: ShortText = ""
    mesh: bool = False

    def __repr__(self) -> str:
        return f"RelayHello(key={self.key!r}, token={'secret' if self.token else 'none'}, host={self.node.host_name!r})"


class RelayWelcome(Message, frozen=True):
    """`error`: why not, in one line; `fatal`: asking again is of no use. Else what the relay is called.
    `bootstrap_names`: what it is to tell clients whose DNS fails."""

    name: str = ""
    region: Int = 0
    region_code: str = ""
    region_name: str = ""
    error: str = ""
    fatal: bool = False
    bootstrap_names: list[str] | None = None


class RelayReport(Message, frozen=True):
    """Members that are absent are unchanged. `drain`: the relay wishes to be drained (True) or used again (False)."""

    node: DERPNode | None = None
    clients: Int = 0
    counters: dict[str, Int] | None = None
    mesh_links: Int = 0
    drain: bool | None = None


class MeshNode(Message, frozen=True):
    host: str
    addresses: list[str]
    port: Int
    cert_name: str = ""


class RelayOrder(Message, frozen=True):
    """One message of the stream; members that are absent are unchanged.

    `mesh_key`: 64 hex digits, "none" for no mesh, "" unchanged; `mesh` comes with it. `reset`: drop the list that was
    begun; `members` are added to it and it counts once `complete`. `added`, `removed`: changes of the list in force.
    `probers`: members that only look whether the relay is well, and are not counted as its clients."""

    keep_alive: bool = False
    begin: bool = False
    members: list[NodeKey] | None = None
    probers: list[NodeKey] | None = None
    complete: bool = False
    added: list[NodeKey] | None = None
    removed: list[NodeKey] | None = None
    mesh_key: str = ""
    mesh: list[MeshNode] | None = None
    state: RelayState = ""
    why: str = ""
    refuse_logins: bool = False  # only with `state`: the others of its region take the clients

    def __repr__(self) -> str:
        mesh = "secret" if self.mesh_key else "unchanged"
        return f"RelayOrder(state={self.state!r}, members={len(self.members or ())}, mesh_key={mesh})"
