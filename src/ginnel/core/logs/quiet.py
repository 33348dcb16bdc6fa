"""Who is told to upload nothing (`MapResponse.Debug.DisableLogTail`, for the life of the client's process).

Room: core. An official client that was pointed nowhere uploads to its vendor, and what it was pointed to it does not
tell. But it uploads from its start, before it has a map, and its log's id stays the same: so one that has lines here
was pointed here, and every other one is silenced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ginnel.core.logs.upload import is_log_id

OURS = "ginnel"
NEVER_POINTED = ("iOS", "tvOS", "android")
"""Apps that have no setting for it (tailscale: logpolicy/logpolicy.go)."""


def may_upload(hostinfo: Mapping[str, Any], has_lines: Callable[[str], bool], *, quiet_others: bool) -> bool:
    """`has_lines`: whether a public log id has uploaded here. A node of this project uploads nowhere but where it was
    told to, so it needs no silencing."""
    log_id = hostinfo.get("BackendLogID")
    if hostinfo.get("OS") in NEVER_POINTED:
        return False
    if not quiet_others:
        return True
    return is_log_id(log_id) and (hostinfo.get("Package") == OURS or has_lines(str(log_id)))
