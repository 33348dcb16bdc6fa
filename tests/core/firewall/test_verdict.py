from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.evidence import Ending, Evidence, Leaf, Step
from ginnel.core.firewall.verdict import Blocking, classify

OWN = Leaf("Example CA", "derp1.example.net", self_signed=False, covers=True, not_before=0, not_after=9, pin="")
PROXY = Leaf(
    "Acme Web Gateway CA", "derp1.example.net", self_signed=False, covers=True, not_before=0, not_after=9, pin=""
)
OTHER = Leaf("Example CA", "portal.example", self_signed=False, covers=False, not_before=0, not_after=9, pin="")
SELF = Leaf("derp1.example.net", "derp1.example.net", self_signed=True, covers=True, not_before=0, not_after=9, pin="")
ZSCALER = Leaf("Zscaler Intermediate Root CA", "x", self_signed=False, covers=True, not_before=0, not_after=9, pin="")
UNKNOWN = "unable to get local issuer certificate"
TRUE, FALSE = ip_address("192.0.2.1"), ip_address("203.0.113.9")
C, T, U = Step.CONNECT, Step.TLS, Step.UPGRADE

TABLE = [
    (Evidence(C, Ending.DONE), Blocking.NONE, "TCP connects"),
    (Evidence(C, Ending.SILENCE, 3.2), Blocking.SILENT_DROP, "no answer to SYN within 3.2 s"),
    (Evidence(C, Ending.REFUSED, 0.0004), Blocking.REFUSED, "RST after 0.4 ms"),
    (Evidence(C, Ending.REFUSED, 0.0004, round_trip=0.03), Blocking.RESET, "something nearer answers for it"),
    (Evidence(C, Ending.REFUSED, 0.029, round_trip=0.03), Blocking.REFUSED, "rejects it, or nothing listens"),
    (Evidence(C, Ending.REFUSED, 0.0001, round_trip=0.001), Blocking.REFUSED, "rejects it, or nothing listens"),
    (Evidence(C, Ending.UNREACHABLE, 0.1, "no route to host"), Blocking.UNREACHABLE, "no route to host"),
    (Evidence(C, Ending.FORBIDDEN, 0, "operation not permitted"), Blocking.SILENT_DROP, "own firewall forbids it"),
    (Evidence(T, Ending.RESET, 0.02), Blocking.RESET, "after the ClientHello: a filter that looks into TLS"),
    (Evidence(T, Ending.RESET, 0.02, without_name=True), Blocking.RESET, "a filter by name (SNI)"),
    (Evidence(T, Ending.CLOSED, 0.02), Blocking.RESET, "closed 20.0 ms after the ClientHello"),
    (Evidence(T, Ending.SILENCE, 3.0), Blocking.TIMEOUT_AFTER_CONNECT, "then nothing comes for 3.0 s"),
    (Evidence(T, Ending.SILENCE, 3.0, without_name=True), Blocking.TIMEOUT_AFTER_CONNECT, "filter by name"),
    (Evidence(T, Ending.SILENCE, 3.0, small_segments=True), Blocking.MTU, "large packets are lost"),
    (Evidence(T, Ending.SILENCE, 3.0, small_segments=False), Blocking.TIMEOUT_AFTER_CONNECT, "nothing comes"),
    (Evidence(T, Ending.CERTIFICATE, leaf=PROXY, problem=UNKNOWN), Blocking.TLS_INTERCEPTION, '"Acme Web Gateway CA"'),
    (Evidence(T, Ending.CERTIFICATE, leaf=PROXY, pinned=True, problem="another"), Blocking.TLS_INTERCEPTION, "Acme"),
    (Evidence(T, Ending.CERTIFICATE, leaf=SELF, pinned=True, problem="not the pinned one"),
     Blocking.WRONG_CERTIFICATE, 'of "derp1.example.net", self-signed: not the pinned one'),
    (Evidence(T, Ending.CERTIFICATE, leaf=OTHER, problem="Hostname mismatch"),
     Blocking.WRONG_CERTIFICATE, 'of "portal.example", issued by "Example CA"'),
    (Evidence(T, Ending.CERTIFICATE, leaf=OWN, problem="it has expired"), Blocking.WRONG_CERTIFICATE, "expired"),
    (Evidence(T, Ending.CERTIFICATE, leaf=OWN, problem="not yet valid"), Blocking.WRONG_CERTIFICATE, "not yet"),
    (Evidence(T, Ending.CERTIFICATE, problem="none came"), Blocking.WRONG_CERTIFICATE, "none came"),
    (Evidence(T, Ending.ANSWER, received=b"SSH-2.0-x"), Blocking.PROTOCOL, "not TLS: the answer begins b'SSH-2.0-x'"),
    (Evidence(T, Ending.ANSWER, received=b"\x15\x03\x03", error="alert 112"), Blocking.PROTOCOL, "refused (alert 112)"),
    (Evidence(T, Ending.ANSWER, status=403, html=True, received=b"HTTP"), Blocking.BLOCK_PAGE, "HTTP 403"),
    (Evidence(U, Ending.ANSWER, status=403, html=True, leaf=PROXY), Blocking.BLOCK_PAGE, 'issued by "Acme Web'),
    (Evidence(U, Ending.ANSWER, status=200, html=True), Blocking.BLOCK_PAGE, "a page with HTTP 200 comes instead"),
    (Evidence(U, Ending.ANSWER, status=302, location="http://portal/"), Blocking.BLOCK_PAGE, "to http://portal/"),
    (Evidence(U, Ending.ANSWER, status=511, html=True), Blocking.CAPTIVE_PORTAL, "sign in"),
    (Evidence(U, Ending.ANSWER, status=426), Blocking.PROTOCOL, "strips the upgrade"),
    (Evidence(U, Ending.ANSWER, status=404), Blocking.PROTOCOL, "HTTP 404 comes instead"),
    (Evidence(U, Ending.ANSWER, status=502, html=True), Blocking.PROTOCOL, "HTTP 502"),
    (Evidence(U, Ending.ANSWER, received=b"\x00\x01"), Blocking.PROTOCOL, "not HTTP"),
    (Evidence(U, Ending.RESET, leaf=PROXY), Blocking.RESET, "a proxy that looks inside"),
    (Evidence(U, Ending.SILENCE, 2.0), Blocking.TIMEOUT_AFTER_CONNECT, "no answer to the HTTP request in 2.0 s"),
    (Evidence(Step.KEY, Ending.ANSWER, error="bad magic"), Blocking.PROTOCOL, "bad magic"),
    (Evidence(Step.KEY, Ending.SILENCE, 2.0), Blocking.TIMEOUT_AFTER_CONNECT, "no answer to the upgrade"),
    (Evidence(Step.LOGIN, Ending.DONE, leaf=OWN), Blocking.NONE, "login succeed"),
    (Evidence(Step.LOGIN, Ending.DONE, leaf=ZSCALER), Blocking.TLS_INTERCEPTION, "but TLS is intercepted"),
    (Evidence(Step.LOGIN, Ending.DONE, leaf=ZSCALER, pinned=True), Blocking.NONE, "login succeed"),
    (Evidence(Step.LOGIN, Ending.SILENCE, 2.0, small_segments=True), Blocking.MTU, "large packets are lost"),
    (Evidence(Step.NAME, Ending.NO_NAME, error="NXDOMAIN"), Blocking.DNS_FAILURE, "does not know the name (NXDOMAIN)"),
    (Evidence(Step.NAME, Ending.SILENCE, 3.0), Blocking.DNS_FAILURE, "DNS does not answer within 3.0 s"),
    (Evidence(Step.NAME, Ending.ANSWER, expected=(TRUE,), answered=(FALSE,)),
     Blocking.DNS_LIE, "DNS answers 203.0.113.9, the map says 192.0.2.1"),
    (Evidence(Step.NAME, Ending.ANSWER, answered=(ip_address("0.0.0.0"),)), Blocking.DNS_LIE, "0.0.0.0, a dead end"),
    (Evidence(Step.STUN, Ending.DONE), Blocking.NONE, "STUN answers"),
    (Evidence(Step.STUN, Ending.SILENCE, 2.0), Blocking.SILENT_DROP, "no answer to STUN within 2.0 s"),
    (Evidence(Step.STUN, Ending.REFUSED), Blocking.REFUSED, "ICMP says"),
    (Evidence(Step.STUN, Ending.FORBIDDEN, error="EPERM"), Blocking.SILENT_DROP, "this machine's own firewall"),
    (Evidence(Step.PORT80, Ending.DONE), Blocking.NONE, "204"),
    (Evidence(Step.PORT80, Ending.ANSWER, status=302, location="http://p/"), Blocking.CAPTIVE_PORTAL, "302 to http://p/"),
    (Evidence(Step.PORT80, Ending.ANSWER, status=204), Blocking.CAPTIVE_PORTAL, "somebody else answers"),
    (Evidence(Step.PORT80, Ending.ANSWER, status=503, error="of a proxy"), Blocking.PROTOCOL, "HTTP 503 of a proxy"),
    (Evidence(Step.PORT80, Ending.SILENCE, 2.0), Blocking.SILENT_DROP, "no answer to SYN"),
    (Evidence(Step.PORT80, Ending.SILENCE, 2.0, "connected"), Blocking.TIMEOUT_AFTER_CONNECT, "then nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "blocking", "words"), TABLE, ids=str)
def test_each_evidence_has_its_verdict(evidence: Evidence, blocking: Blocking, words: str) -> None:
    verdict = classify(evidence)
    assert verdict.blocking is blocking
    assert words in verdict.text
    assert verdict.evidence is evidence


def test_every_kind_stands_in_the_table() -> None:
    assert {row[1] for row in TABLE} == set(Blocking)


LEAVES = st.one_of(
    st.none(),
    st.builds(
        Leaf,
        st.text(max_size=9),
        st.text(max_size=9),
        st.booleans(),
        st.booleans(),
        st.just(0.0),
        st.just(9.0),
        st.just(""),
    ),
)
MAYBE = st.sampled_from([None, True, False])


@given(
    st.builds(
        Evidence, st.sampled_from(Step), st.sampled_from(Ending), st.floats(0, 9), st.text(max_size=9),
        st.binary(max_size=9), st.integers(0, 9), st.integers(0, 999), st.text(max_size=9), st.booleans(), LEAVES,
        st.text(max_size=9), st.booleans(), MAYBE, MAYBE,
    )
)  # fmt: skip
def test_any_evidence_has_a_verdict_and_only_a_probe_that_is_done_passes(evidence: Evidence) -> None:
    verdict = classify(evidence)
    assert verdict.text
    assert not verdict.passed or evidence.done


def test_a_server_without_its_chain_is_not_called_intercepted_for_certain() -> None:
    """As some server with a public certificate that forgot the intermediate one: its own file is to be mended."""
    seen = Evidence(Step.TLS, Ending.CERTIFICATE, leaf=OWN, problem="unable to get local issuer certificate")
    assert "or the server itself leaves its chain out" in classify(seen).text
    known = replace(seen, leaf=ZSCALER)
    assert "itself" not in classify(known).text


def test_a_server_that_is_known_by_its_key_is_intercepted_all_the_same_where_nothing_comes_through() -> None:
    leaf = replace(PROXY, issuer="ACME Web Gateway CA")
    seen = Evidence(
        Step.UPGRADE, Ending.ANSWER, status=400, leaf=leaf, problem="unable to get local issuer certificate"
    )
    verdict = classify(seen)
    assert verdict.blocking is Blocking.TLS_INTERCEPTION
    assert "ACME Web Gateway CA" in verdict.text
    assert "HTTP 400" in verdict.text
    own = replace(seen, leaf=replace(leaf, self_signed=True), problem="self-signed certificate")
    assert classify(own).blocking is Blocking.PROTOCOL
