"""The coordination server's sockets, files and clocks around the cores in `ginnel.core.control`.

Room: shell.
"""
