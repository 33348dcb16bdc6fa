"""What stands beside the rules: level, profile, source, warnings, and for each rule why. Harmless in every comment.

Room: core. These texts come from the map, a URL or a policy as well as from us. Two strengths: `line` is for comments
that reach to the end of their line, `words` for strings inside a rule. Neither leaves a control character, a quote
where quotes matter, a backslash (it joins lines), or a question mark (a router's console would answer with help).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from ginnel.core.firewall.needs import Need, Plan

LONGEST_LINE = 400
YOURS = "DNS, DHCP, loopback and what runs inside the mesh are yours to allow"
INSIDE = "inside the mesh, where its policy decides: uncomment this beside a firewall that denies by default"
TUN = "ginnel0"
_NOT_IN_LINE = re.compile(r"[^A-Za-z0-9 .,:;/()_+*=@<>'\"-]")
_WORDS_FOR = str.maketrans({"'": "", '"': "", "`": "", ";": ","})
_NOT_IN_WORDS = re.compile(r"[^A-Za-z0-9 .,:/()_+*=@-]")


def line(text: str, longest: int = LONGEST_LINE) -> str:
    """One line of plain ASCII for a comment that ends with its line."""
    return _one_line(_NOT_IN_LINE, text[: 4 * longest].replace("`", "'"), longest)


def words(text: str, longest: int = 120) -> str:
    """Fit to stand between quotes in every format: no quote, no character that any of them reads."""
    return _one_line(_NOT_IN_WORDS, text[: 4 * longest].translate(_WORDS_FOR), longest)


def _one_line(forbidden: re.Pattern[str], text: str, longest: int) -> str:
    # Cut before looking, so that a map of megabytes in a name costs nothing; and after, for the length itself.
    clean = forbidden.sub("_", " ".join(text[: 4 * longest].split()))
    if len(clean) <= longest:
        return clean.strip()
    whole, _, _ = clean[: longest + 1].rpartition(" ")  # no half word at the end, where there are words
    return (whole if len(whole) > longest // 2 else clean[:longest]).strip()


def preamble(plan: Plan) -> list[str]:
    """Profile, source, warnings."""
    told = [f"profile: {plan.profile}", f"source: {line(plan.source)}"]
    if plan.refresh_by:
        told.append(f"refresh by: {line(plan.refresh_by)}; stale rules cut off nodes that look healthy otherwise")
    return told + [f"warning: {line(text)}" for text in plan.warnings]


def destination(need: Need) -> str:
    port = need.port or "any port"
    if need.direction == "in":
        return f"in, {need.transport} to this host's port {port}"
    source = f"source port {need.source_port}" if need.source_port else "any source port"
    to = "pinned hosts" if need.hosts else "anywhere"
    return f"out, {need.transport}, {source}, to {to}, {'port ' if need.port else ''}{port}"


def reasons(need: Need) -> list[str]:
    """Why a rule is there, as lines of a comment."""
    told = [f"{need.id}{' (optional)' if need.optional else ''}: {destination(need)}"]
    if need.why:
        told.append(f"why: {line(need.why)}")
    if need.breaks:
        told.append(f"without it: {line(need.breaks)}")
    return told


def label(need: Need, longest: int = 120) -> str:
    """The same in a string inside the rule: always begins with `ginnel`, so that no format sees a formula in it."""
    return words(f"ginnel {need.id}: {need.why}" if need.why else f"ginnel {need.id}", longest)


def commented(mark: str, lines: Iterable[str]) -> list[str]:
    return [f"{mark} {text}".rstrip() for text in lines]


def object_name(name: str, longest: int = 60) -> str:
    """A host's name as the name of an object, the same every time; cut ones stay apart by their hash."""
    if len(name) <= longest:
        return name
    return f"{name[: longest - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
