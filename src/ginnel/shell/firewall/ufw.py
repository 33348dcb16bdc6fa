"""What ufw has in its files, and whether the kernel has the same.

Room: shell. ufw writes its files first and changes the kernel's rules behind: where it was killed between the two, they
differ until it reloads.
"""

from __future__ import annotations

import shlex

from ginnel.shell.firewall.tools import ToolError, run

REFUSALS = ("deny", "reject", "limit")
CHAINS = (("iptables", "ufw-user-input"), ("ip6tables", "ufw6-user-input"))


def refusal(port: int) -> str:
    """The rule that refuses this very port, which `ufw allow` would put ours in the place of; "" none."""
    return next((line for line, verb in _added(port) if verb in REFUSALS), "")


def allows(port: int) -> bool:
    """Whether there is such a rule, ours or the administrator's."""
    return any(verb == "allow" for _, verb in _added(port))


def _added(port: int) -> list[tuple[str, str]]:
    """(rule, its verb) of those for the port from anywhere, whatever they log and however they are commented."""
    lines = (line.strip() for line in run(["ufw", "show", "added"]).splitlines())
    return [(line, words[0]) for line in lines if (words := _plain(line)) and _concerns(words[1:], port)]


def _plain(line: str) -> list[str]:
    """The words that make two rules the same one to ufw, behind "ufw"."""
    try:
        words = shlex.split(line)
    except ValueError:
        return []
    if words[:1] != ["ufw"] or len(words) < 3:
        return []
    if "comment" in words:
        words = words[: words.index("comment")]
    return [word for word in words[1:] if word not in ("in", "log", "log-all")]


def _concerns(words: list[str], port: int) -> bool:
    """ufw spells it in one of these ways."""
    anywhere = ["from", "any", "to", "any", "port", str(port)]
    udp = [
        [f"{port}/udp"],
        [*anywhere, "proto", "udp"],
        ["proto", "udp", *anywhere],
        ["to", *anywhere[3:], "proto", "udp"],
    ]
    return words in [*udp, [str(port)], anywhere]


def heal(port: int) -> bool:
    """Makes files and kernel say the same again; whether they differed. Raises ToolError."""
    if not is_active() or not differ(port):
        return False
    run(["ufw", "reload"])
    return True


def is_active() -> bool:
    return "Status: active" in run(["ufw", "status"])


def differ(port: int) -> bool:
    stands = [found for program, chain in CHAINS if (found := _in_kernel(program, chain, port)) is not None]
    return any(found is not allows(port) for found in stands)


def _in_kernel(program: str, chain: str, port: int) -> bool | None:
    """None: ufw has no such chain, as without IPv6."""
    try:
        rules = run([program, "-w", "5", "-S", chain]).splitlines()
    except ToolError:
        return None
    return f"-A {chain} -p udp -m udp --dport {port} -j ACCEPT" in rules
