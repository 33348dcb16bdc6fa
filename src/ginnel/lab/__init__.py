"""Networks with real kernels, NATs and firewalls on one machine, and the mesh tried in them.

Room: lab. It may import the shells and everything to their left; only `ginnel lab` prints what it finds.
"""


class LabError(Exception):
    """Something the person at the keyboard can act on: one line that says what happened, why, and what to do."""
