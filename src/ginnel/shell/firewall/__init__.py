"""The firewall's side of the world: where the facts are from, what is tried for real, what is applied.

Room: shell.
"""
