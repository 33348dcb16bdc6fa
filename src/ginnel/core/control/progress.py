"""What a map request changes in a node's status.

Room: core.
"""

from __future__ import annotations

from dataclasses import replace

from ginnel.core.control.records import Status
from ginnel.core.control.statement import home_of, kept_endpoints, kept_hostinfo
from ginnel.wire.tailcfg import MapRequest


def status_after(old: Status, request: MapRequest) -> Status:
    """`old` itself when nothing differs. Members that a request leaves out stay: a disco key is never cleared, a home
    region only replaced, endpoints kept until others come."""
    hostinfo = old.hostinfo
    if request.hostinfo is not None:
        hostinfo = kept_hostinfo(request.hostinfo)
        hostinfo.pop("RequestTags", None)
    endpoints = old.endpoints if request.endpoints is None else kept_endpoints(request.endpoints)
    new = replace(
        old,
        hostinfo=hostinfo,
        endpoints=endpoints,
        home=home_of(request.hostinfo) or old.home,
        disco=request.disco_key or old.disco,
        cap=request.version,
    )
    return old if new == old else new
