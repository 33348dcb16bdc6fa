"""A node as it is shown itself.

Room: core. Each self update rebuilds the client's whole map, so it goes out only when something in `fixed` differs:
the node knows its own endpoints, home and disco key better than we do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ginnel.core.control.attributes import attributes_of
from ginnel.core.control.records import Node, Status
from ginnel.core.control.statement import for_peers
from ginnel.core.firewall.told import NOTHING_TOLD, Told
from ginnel.wire import tailcfg
from ginnel.wire.tailcfg import encode, stamp
from ginnel.words import WallTime

LONG_AGO = WallTime(123.0)


@dataclass(frozen=True, slots=True)
class SelfView:
    node: Node
    status: Status
    name: str
    attributes: frozenset[str] = frozenset()  # from the policy
    told: Told = NOTHING_TOLD

    @classmethod
    def of(
        cls, node: Node, status: Status, name: str, attributes: frozenset[str] = frozenset(), told: Told = NOTHING_TOLD
    ) -> SelfView:
        return cls(node, status, name, attributes, told)

    def tells_the_same(self, other: SelfView) -> bool:
        return (self.node, self.name, self.attributes) == (other.node, other.name, other.attributes)

    @property
    def json(self) -> bytes:
        node, status = self.node, self.status
        addresses = [node.ipv4 + "/32", node.ipv6 + "/128"]
        return encode(
            tailcfg.Node(
                id=node.id,
                stable_id=node.stable_id,
                name=self.name,
                user=node.user,
                key=node.key,
                addresses=addresses,
                key_expiry=stamp(node.expiry),
                machine=node.machine,
                disco_key=status.disco,
                allowed_ips=addresses,
                home_derp=status.home,
                hostinfo=for_peers(status.hostinfo),
                created=stamp(node.created),
                cap=status.cap,
                tags=list(node.tags) or None,
                cap_map={
                    **attributes_of(status.hostinfo),
                    **dict.fromkeys(sorted(self.attributes)),
                    **self.told.attributes(),
                },
                online=True,
                machine_authorized=True,
            )
        )

    @property
    def expired_json(self) -> bytes:
        """For a node that is being deleted: its client then asks for a login."""
        return replace(self, node=replace(self.node, expiry=LONG_AGO)).json
