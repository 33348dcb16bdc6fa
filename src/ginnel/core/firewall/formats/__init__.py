"""What a firewall must let through, in each firewall's own language: one file a format, one table of them all.

Room: core. No sockets, clocks, files, randomness or logs come in. `table.py` has the table; every format is rendered
through `Format.render`, which refuses a plan that `check.py` has not looked at.
"""
