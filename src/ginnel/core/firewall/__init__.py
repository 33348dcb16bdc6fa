"""What a firewall must let through, in the live mesh's own terms: planned, written as rules, kept in sync, judged.

Room: core. No sockets, clocks, files, randomness or logs come in.
"""
