"""What the fleet's verbs of the admin API answer.

Room: shell. A mesh's key is in none of it.
"""

from __future__ import annotations

from typing import Any

from ginnel.core.control.fleet_records import FleetRegion, RelayRecord, RelayTokenRecord
from ginnel.shell.control.fleet_probe import Outlook
from ginnel.wire.tailcfg import stamp
from ginnel.words import WallTime


def token_json(token: RelayTokenRecord) -> dict[str, Any]:
    return {
        "id": token.id,
        "prefix": token.prefix,
        "region": token.region,
        "used": token.used is not None,
        "revoked": token.revoked is not None,
        "expiration": time_text(token.expiry),
        "created_at": time_text(token.created),
    }


def region_json(region: FleetRegion) -> dict[str, Any]:
    hidden = ("mesh_key",)
    return {name: getattr(region, name) for name in region.__dataclass_fields__ if name not in hidden}


def outlook_json(relay: RelayRecord, outlook: Outlook) -> dict[str, Any]:
    return {
        "name": relay.name,
        "host": relay.node.host_name,
        "good": outlook.good,
        "why": outlook.why,
        "findings": [
            {
                "service": finding.service,
                "family": finding.family,
                "address": finding.address,
                "port": finding.port,
                "result": finding.result,
                "seconds": finding.seconds,
                "detail": finding.detail,
            }
            for finding in outlook.findings
        ],
    }


def time_text(wall: WallTime | None) -> str | None:
    written = stamp(wall)
    return written.isoformat(timespec="seconds").replace("+00:00", "Z") if written is not None else None
