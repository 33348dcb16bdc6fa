"""A whole mesh under a virtual clock: the daemon's own cores, simulated NATs, links, relays and control.

Room: testing. No sockets, no root, no sleeping; one seed gives one run.
"""
