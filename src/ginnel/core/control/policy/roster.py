"""The nodes of a tailnet by what policies call them: their users, their tags, their routes.

Room: core. No sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ginnel.core.control.policy.model import Atom, Kind, Network, PolicyNode, user_name
from ginnel.core.control.policy.prefixes import EXIT_ROUTES, TAILNET, spell
from ginnel.words import NodeId

_NodesById = dict[NodeId, PolicyNode]


class Roster:
    def __init__(self) -> None:
        self.users: dict[str, _NodesById] = {}  # untagged nodes alone
        self.tags: dict[str, _NodesById] = {}
        self.members: _NodesById = {}
        self.tagged: _NodesById = {}
        self.routes: Counter[Network] = Counter()

    def add(self, node: PolicyNode) -> bool:
        """Whether the set of approved subnet routes grew."""
        for group in self._homes(node):
            group[node.id] = node
        before = len(self.routes)
        self.routes.update(subnet_routes(node))
        return len(self.routes) != before

    def remove(self, node: PolicyNode) -> bool:
        """Whether the set of approved subnet routes shrank."""
        for group in self._homes(node):
            del group[node.id]
        self._forget_empty(node)
        before = len(self.routes)
        for route in subnet_routes(node):
            self.routes[route] -= 1
            if not self.routes[route]:
                del self.routes[route]
        return len(self.routes) != before

    def _homes(self, node: PolicyNode) -> Iterator[_NodesById]:
        if node.tags:
            yield self.tagged
            for tag in node.tags:
                yield self.tags.setdefault(tag, {})
        else:
            yield self.members
            yield self.users.setdefault(user_name(node.user), {})

    def _forget_empty(self, node: PolicyNode) -> None:
        for name, groups in [(user_name(node.user), self.users), *((tag, self.tags) for tag in node.tags)]:
            if not groups.get(name, True):
                del groups[name]

    def of_user(self, user: str) -> _NodesById:
        """A user's untagged nodes; `user` as policies write it."""
        return self.users.get(user, {})

    def of(self, atom: Atom) -> _NodesById:
        match atom.kind:
            case Kind.USER:
                return self.of_user(atom.name)
            case Kind.TAG:
                return self.tags.get(atom.name, {})
            case Kind.MEMBER:
                return self.members
            case Kind.TAGGED:
                return self.tagged
        return {}

    def source_addresses(self, atoms: frozenset[Atom]) -> list[str]:
        """SrcIPs: addresses of the nodes, prefixes as written; `*` is the tailnet and what its routes lead to."""
        kinds = {atom.kind for atom in atoms}
        if Kind.DANGER_ALL in kinds:
            return ["*"]
        networks = [atom.net for atom in atoms if atom.net is not None]
        if Kind.ANY in kinds:
            networks += [*TAILNET, *self.routes]
        nodes = {id_: node for atom in atoms for id_, node in self.of(atom).items()}
        return spell((address for node in nodes.values() for address in node.addresses), networks)


def subnet_routes(node: PolicyNode) -> set[Network]:
    return {route for route in node.routes if route not in EXIT_ROUTES} if node.routes else set()
