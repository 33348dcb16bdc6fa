"""Clients' logs: what an upload says, where it is kept and for how long, and the node's own uploads."""
