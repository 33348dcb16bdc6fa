"""What a server does to its records when it starts: a first user, and the policy that its settings name.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from ginnel.core.control.records import Audit, Row, User
from ginnel.core.control.registry import Refused
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.store import StoreUnavailable
from ginnel.words import WallTime

log = logging.getLogger("ginnel.control")
FIRST_USER = "default"


async def first_user(coordinator: Coordinator) -> None:
    """Where nobody is known yet. Raises StoreUnavailable."""
    registry = coordinator.registry
    if registry.users or registry.nodes:
        return

    def decide(wall: WallTime) -> tuple[User, list[Row]]:
        user, rows = registry.create_user(FIRST_USER, wall)
        return user, [*rows, Audit(wall, "server", "user create", f"user {user.id}", user.name)]

    await coordinator.change(decide)


async def use_policy_file(coordinator: Coordinator, name: str) -> bool:
    """Read the policy file; "" is none. A bad one keeps the policy in force (C10); True when it is the file's."""
    if not name:
        return False
    path = Path(name)
    try:
        text = await asyncio.to_thread(path.read_text)
        current = coordinator.registry.policy
        if current is None or current.text != text:
            await coordinator.set_policy(text, f"file {path}")
    except (OSError, UnicodeDecodeError, Refused, StoreUnavailable) as error:
        log.error("the policy file %s is not used, the policy in force stays: %s", path, error)
        if coordinator.registry.policy is None:
            coordinator.deny_all()
        return False
    return True


def login_server(url: str, pin: bytes | None) -> str:
    """What to tell an official client. It fetches the server's key by verified TLS or by plain HTTP, so with a
    certificate of our own making it has to be HTTP; what follows is protected by Noise either way."""
    return "http://" + url.removeprefix("https://").partition(":")[0] if pin is not None and "[" not in url else url
