"""Reading a firewall's rules offline and saying what of the mesh's needs they let through.

Room: core. `read.py` tells which format a text is in; a file for each format makes `model.RuleSet` of it; `walk.py`
sends classes of packets through the chains; `judge.py` puts the needs to it and quotes the rules that decide. What is
not understood makes an answer unknown, never a pass.
"""
