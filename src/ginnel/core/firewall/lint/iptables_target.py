"""What an iptables rule does with a packet that has met its matches.

Room: core. Source: iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

from ginnel.core.firewall.lint.fields import ALL, STATES, Field
from ginnel.core.firewall.lint.ints import point
from ginnel.core.firewall.lint.model import Assign, Do, Jump, Step, Verdict

TARGETS: dict[str, Verdict | None] = {  # None: goes on
    "ACCEPT": Verdict.ACCEPT, "DROP": Verdict.DROP, "REJECT": Verdict.REJECT, "RETURN": Verdict.RETURN,
    "QUEUE": Verdict.UNCLEAR, "NFQUEUE": Verdict.UNCLEAR, "DNAT": Verdict.UNCLEAR, "REDIRECT": Verdict.UNCLEAR,
    "TPROXY": Verdict.UNCLEAR, "NETMAP": Verdict.UNCLEAR, "SYNPROXY": Verdict.UNCLEAR, "TARPIT": Verdict.DROP,
    "MASQUERADE": Verdict.ACCEPT, "SNAT": Verdict.ACCEPT,
    **dict.fromkeys(("LOG", "NFLOG", "ULOG", "TRACE", "TCPMSS", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "CHECKSUM",
                     "SET", "AUDIT", "RATEEST", "SECMARK", "CONNSECMARK", "TEE", "LED", "HMARK", "NOTRACK", "CT",
                     "MARK", "CONNMARK")),
}  # fmt: skip


class UnknownOption(Exception):
    """What comes next is not understood, nor where it ends."""


class Words:
    """The rest of a rule's words."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._words)

    def take(self) -> str:
        if not self:
            raise UnknownOption
        self._at += 1
        return self._words[self._at - 1]

    def peek(self) -> str:
        return self._words[self._at] if self else ""

    def until_option(self) -> list[str]:
        """Arguments of an option that nobody knows here."""
        got = []
        while self and not self.peek().startswith("-") and self.peek() != "!":
            got.append(self.take())
        return got


def target(name: str, rest: Words, *, final: bool) -> list[Step]:
    """What comes behind -j, or -g (final)."""
    if final or name not in TARGETS:
        return [Do(Jump(name, final))]
    verdict = TARGETS[name]
    if verdict is not None:
        return [Do(verdict)]
    options = [rest.take() for _ in iter(lambda: bool(rest), False)]
    if name == "NOTRACK" or (name == "CT" and "--notrack" in options):
        return [Assign(Field.CT_STATE, values=point(STATES["untracked"]))]
    if name == "MARK":
        return [_set_mark(options)]
    if name == "CONNMARK":
        return _connection_mark(options)
    if name == "SET" and "--map-mark" in options:
        return [Assign(Field.MARK, values=ALL[Field.MARK])]
    return []


def _set_mark(options: list[str]) -> Step:
    """--set-xmark value/mask: zeroes the mask's bits and flips the value's."""
    match options:
        case ["--set-xmark" | "--set-mark", text]:
            value, _, mask = text.partition("/")
            try:
                return Assign(Field.MARK, mask=int(mask or "0xffffffff", 0), value=int(value, 0))
            except ValueError:
                pass
    return Assign(Field.MARK, values=ALL[Field.MARK])


def _connection_mark(options: list[str]) -> list[Step]:
    """The connection's mark is not followed: what is read from it may be anything."""
    if "--restore-mark" in options:
        return [Assign(Field.MARK, values=ALL[Field.MARK])]
    return []
