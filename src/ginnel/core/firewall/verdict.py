"""What kind of blocking a failed probe looks like.

Room: core. Pure: evidence in, verdict out; each step of a conversation has its table. What people read is made of the
evidence too, so a verdict never says more than was seen.

Sources: RFC 9293 §3.10.7.3 (RST to a SYN), RFC 8446 §6.2 (alerts), RFC 6585 §6 (511), RFC 7725 (451), RFC 5737 and
linux: net/ipv4/icmp.c icmp_err_convert (which ICMP error becomes which errno).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ginnel.core.firewall.evidence import Ending, Evidence, Step
from ginnel.core.firewall.inspectors import inspector_of


class Blocking(StrEnum):
    """The kinds that reports, the doctor and the lab know."""

    NONE = "none"
    SILENT_DROP = "silent-drop"
    RESET = "reset"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TLS_INTERCEPTION = "tls-interception"
    BLOCK_PAGE = "block-page"
    DNS_LIE = "dns-lie"
    DNS_FAILURE = "dns-failure"
    CAPTIVE_PORTAL = "captive-portal"
    WRONG_CERTIFICATE = "wrong-certificate"
    PROTOCOL = "protocol"
    MTU = "mtu"
    TIMEOUT_AFTER_CONNECT = "timeout-after-connect"


@dataclass(frozen=True, slots=True)
class Verdict:
    """text: what happened, in one line without the host's name. evidence: what it rests on."""

    blocking: Blocking
    text: str
    evidence: Evidence

    @property
    def passed(self) -> bool:
        return self.blocking is Blocking.NONE


REFUSING = (401, 403, 407, 451)
PORTAL_STATUS = 511
TLS_ALERT = 0x15
FAR = 0.02
NEARER = 4.0
"""A RST that came this many times faster than the host can answer is not the host's. FAR, seconds: of a nearer host, or
on a busy machine, nobody can tell."""


def classify(evidence: Evidence) -> Verdict:
    """Total: each evidence has its verdict."""
    blocking, text = _BY_STEP[evidence.step](evidence)
    if evidence.step in BEHIND_TLS and not evidence.done and (opened := _opened(evidence)):
        blocking, text = Blocking.TLS_INTERCEPTION, f"{opened}; then {text}"
    return Verdict(blocking, text, evidence)


Judged = tuple[Blocking, str]
BEHIND_TLS = (Step.UPGRADE, Step.KEY, Step.LOGIN)


def _opened(evidence: Evidence) -> str:
    """By whom TLS was opened, where that was let pass for the sake of the server's own key behind it."""
    if not evidence.problem or evidence.leaf is None:
        return ""
    blocking, text = _certificate(evidence)
    return text if blocking is Blocking.TLS_INTERCEPTION else ""


def _done(evidence: Evidence, what: str) -> Judged:
    if evidence.leaf is not None and not evidence.pinned and (inspector := inspector_of(evidence.leaf)):
        return Blocking.TLS_INTERCEPTION, f"{what}, but {_intercepted(inspector)}"
    return Blocking.NONE, what


# --- DNS -------------------------------------------------------------------------------------------------------------


def _name(evidence: Evidence) -> Judged:
    if evidence.done:
        return Blocking.NONE, "DNS answers"
    if evidence.ending is Ending.ANSWER:
        said = ", ".join(map(str, evidence.answered[:3]))
        truth = ", ".join(map(str, evidence.expected[:3]))
        return Blocking.DNS_LIE, f"DNS answers {said}" + (f", the map says {truth}" if truth else ", a dead end")
    if evidence.ending is Ending.SILENCE:
        return Blocking.DNS_FAILURE, f"DNS does not answer within {evidence.seconds:.1f} s"
    return Blocking.DNS_FAILURE, f"DNS does not know the name ({evidence.error or 'no address'})"


# --- TCP, and errors that every socket knows -------------------------------------------------------------------------


def _connect(evidence: Evidence) -> Judged:
    match evidence.ending:
        case Ending.DONE:
            return Blocking.NONE, "TCP connects"
        case Ending.SILENCE:
            return Blocking.SILENT_DROP, f"no answer to SYN within {evidence.seconds:.1f} s: dropped without a word"
        case Ending.REFUSED if _too_near(evidence):
            return Blocking.RESET, (
                f"RST to SYN after {_ms(evidence.seconds)}, while the host is {_ms(evidence.round_trip or 0)} away: "
                "something nearer answers for it"
            )
        case Ending.REFUSED:
            return Blocking.REFUSED, f"RST after {_ms(evidence.seconds)}: a firewall rejects it, or nothing listens"
        case Ending.RESET | Ending.CLOSED:
            return Blocking.RESET, f"reset while connecting, after {_ms(evidence.seconds)}"
        case _:
            return _no_way(evidence)


def _too_near(evidence: Evidence) -> bool:
    trip = evidence.round_trip
    return trip is not None and trip > FAR and evidence.seconds * NEARER < trip


def _no_way(evidence: Evidence) -> Judged:
    if evidence.ending is Ending.FORBIDDEN:
        return Blocking.SILENT_DROP, f"this machine's own firewall forbids it ({evidence.error})"
    return Blocking.UNREACHABLE, f"no way there: {evidence.error.removeprefix('unreachable: ') or 'a router says so'}"


# --- TLS -------------------------------------------------------------------------------------------------------------


def _tls(evidence: Evidence) -> Judged:
    match evidence.ending:
        case Ending.DONE:
            return _done(evidence, "TLS stands")
        case Ending.CERTIFICATE:
            return _certificate(evidence)
        case Ending.ANSWER:
            return _no_tls(evidence)
        case Ending.SILENCE:
            return _stalled(evidence)
        case Ending.RESET | Ending.CLOSED:
            how = "reset" if evidence.ending is Ending.RESET else "closed"
            return Blocking.RESET, f"{how} {_ms(evidence.seconds)} after the ClientHello{_by_name(evidence)}"
        case _:
            return _no_way(evidence)


def _by_name(evidence: Evidence) -> str:
    if evidence.without_name:
        return "; without the host's name in it an answer comes: a filter by name (SNI)"
    return ": a filter that looks into TLS" if evidence.count == 0 else ""


def _stalled(evidence: Evidence) -> Judged:
    came = f"{evidence.count} bytes" if evidence.count else "nothing"
    if evidence.small_segments:
        return Blocking.MTU, f"TCP connects, then {came}; with small segments all goes well: large packets are lost"
    after = f"TCP connects, then {came} comes for {evidence.seconds:.1f} s after the ClientHello"
    return Blocking.TIMEOUT_AFTER_CONNECT, after + (_by_name(evidence) if evidence.count == 0 else "")


def _no_tls(evidence: Evidence) -> Judged:
    if evidence.status:
        return _page(evidence)
    if evidence.received[:1] == bytes([TLS_ALERT]):
        return Blocking.PROTOCOL, f"the TLS handshake is refused ({evidence.error or 'alert'}){_named_alert(evidence)}"
    return Blocking.PROTOCOL, f"not TLS: the answer begins {evidence.received[:16]!r}"


def _named_alert(evidence: Evidence) -> str:
    return "; not so without the host's name: a filter by name (SNI)" if evidence.without_name else ""


def _certificate(evidence: Evidence) -> Judged:
    leaf = evidence.leaf
    if leaf is None:
        return Blocking.WRONG_CERTIFICATE, f"the certificate is not trusted: {evidence.problem}"
    if inspector := inspector_of(leaf):
        return Blocking.TLS_INTERCEPTION, _intercepted(inspector)
    if leaf.covers and not leaf.self_signed and not _only_dates(evidence):
        return Blocking.TLS_INTERCEPTION, _intercepted(leaf.issuer) + _or_no_chain(evidence)
    issued = "self-signed" if leaf.self_signed else f'issued by "{leaf.issuer}"'
    return Blocking.WRONG_CERTIFICATE, f'a certificate of "{leaf.subject}", {issued}: {evidence.problem}'


def _or_no_chain(evidence: Evidence) -> str:
    """A server that forgets its intermediate certificate, or has an authority of its own, looks the same from here."""
    doubt = not evidence.pinned and "local issuer" in evidence.problem
    return ", whom this machine does not know; or the server itself leaves its chain out" if doubt else ""


def _only_dates(evidence: Evidence) -> bool:
    """The right certificate at the wrong time: it was not renewed, or this machine's clock is wrong."""
    return not evidence.pinned and ("expired" in evidence.problem or "not yet valid" in evidence.problem)


def _intercepted(issuer: str) -> str:
    return f'TLS is intercepted: the certificate was issued by "{issuer}"'


# --- HTTP, and what is spoken behind it ------------------------------------------------------------------------------


def _upgrade(evidence: Evidence) -> Judged:
    match evidence.ending:
        case Ending.DONE:
            return _done(evidence, "the request is answered")
        case Ending.ANSWER:
            return _page(evidence)
        case _:
            return _cut_off(evidence, "the HTTP request")


def _page(evidence: Evidence) -> Judged:
    status, issuer = evidence.status, _issuer(evidence)
    if not status:
        return Blocking.PROTOCOL, f"not HTTP: the answer begins {evidence.received[:16]!r}{issuer}"
    if status == PORTAL_STATUS:
        return Blocking.CAPTIVE_PORTAL, f"HTTP {status}: a captive portal wants somebody to sign in"
    to = f" to {evidence.location}" if evidence.location else ""
    if status in REFUSING or 300 <= status < 400 or (evidence.html and status < 500):
        what = "a page" if evidence.html else "an answer"
        return Blocking.BLOCK_PAGE, f"{what} with HTTP {status}{to} comes instead{issuer}"
    if status == 426:
        return Blocking.PROTOCOL, f"HTTP 426: a proxy on the way strips the upgrade{issuer}"
    return Blocking.PROTOCOL, f"HTTP {status} comes instead{issuer}"


def _issuer(evidence: Evidence) -> str:
    return f' (certificate issued by "{evidence.leaf.issuer}")' if evidence.leaf is not None else ""


def _cut_off(evidence: Evidence, what: str) -> Judged:
    match evidence.ending:
        case Ending.SILENCE if evidence.small_segments:
            return Blocking.MTU, f"no answer to {what}; with small segments all goes well: large packets are lost"
        case Ending.SILENCE:
            return Blocking.TIMEOUT_AFTER_CONNECT, f"TLS stands, but no answer to {what} in {evidence.seconds:.1f} s"
        case Ending.RESET:
            return Blocking.RESET, f"reset after {what}: a proxy that looks inside{_issuer(evidence)}"
        case Ending.CLOSED:
            return Blocking.RESET, f"closed after {what}{_issuer(evidence)}"
        case _:
            return _no_way(evidence)


def _key(evidence: Evidence) -> Judged:
    if evidence.done:
        return _done(evidence, "it shows its key")
    if evidence.ending is Ending.ANSWER:
        return Blocking.PROTOCOL, f"not the protocol that was agreed on: {evidence.error or 'unreadable'}"
    return _cut_off(evidence, "the upgrade")


def _login(evidence: Evidence) -> Judged:
    if evidence.done and evidence.problem and evidence.leaf is not None:
        return (
            Blocking.NONE,
            f"login succeeds, by the server's own key; the certificate is not trusted ({evidence.problem}): "
            f'issued by "{evidence.leaf.issuer}"',
        )
    if evidence.done:
        return _done(evidence, "TLS and login succeed")
    if evidence.ending is Ending.ANSWER:
        return Blocking.PROTOCOL, f"the login is answered by something else: {evidence.error or 'unreadable'}"
    return _cut_off(evidence, "the login")


# --- UDP and port 80 -------------------------------------------------------------------------------------------------


def _stun(evidence: Evidence) -> Judged:
    match evidence.ending:
        case Ending.DONE:
            return Blocking.NONE, "STUN answers"
        case Ending.SILENCE:
            return Blocking.SILENT_DROP, f"no answer to STUN within {evidence.seconds:.1f} s"
        case Ending.REFUSED:
            return Blocking.REFUSED, "ICMP says that nobody takes it: a firewall rejects it, or nothing listens"
        case Ending.ANSWER:
            return Blocking.PROTOCOL, f"not STUN: the answer begins {evidence.received[:16]!r}"
        case _:
            return _no_way(evidence)


def _port80(evidence: Evidence) -> Judged:
    match evidence.ending:
        case Ending.DONE:
            return Blocking.NONE, "204, as it should be"
        case Ending.ANSWER if evidence.status and evidence.error:
            return Blocking.PROTOCOL, f"HTTP {evidence.status} {evidence.error}"
        case Ending.ANSWER if evidence.status:
            to = f" to {evidence.location}" if evidence.location else ""
            return Blocking.CAPTIVE_PORTAL, f"somebody else answers: HTTP {evidence.status}{to} instead of 204"
        case Ending.ANSWER:
            return Blocking.PROTOCOL, f"not HTTP: the answer begins {evidence.received[:16]!r}"
        case Ending.SILENCE if evidence.count == 0 and evidence.error == "connected":
            return Blocking.TIMEOUT_AFTER_CONNECT, f"TCP connects, then nothing for {evidence.seconds:.1f} s"
        case Ending.RESET | Ending.CLOSED:
            return Blocking.RESET, "reset after the request"
        case _:
            return _connect(evidence)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


_BY_STEP: dict[Step, Callable[[Evidence], Judged]] = {
    Step.NAME: _name,
    Step.CONNECT: _connect,
    Step.TLS: _tls,
    Step.UPGRADE: _upgrade,
    Step.KEY: _key,
    Step.LOGIN: _login,
    Step.STUN: _stun,
    Step.PORT80: _port80,
}
