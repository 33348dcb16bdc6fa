"""HuJSON text becomes a Policy."""

from ginnel.core.control.policy.model import Policy


def parse_policy(text: str) -> Policy:
    """Raises PolicyError."""
    raise NotImplementedError
