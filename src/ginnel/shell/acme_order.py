"""One order of a certificate from an ACME authority (RFC 8555), by http-01 or tls-alpn-01 (RFC 8737).

Room: shell. It waits, so it runs in a thread; and the library is slow to import, so only that thread imports this.
"""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from acme import challenges, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID, ObjectIdentifier
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from josepy.util import ComparableECKey

from ginnel.native import Relay
from ginnel.shell.relay_settings import AcmeSettings, RelayError

REQUEST_TIMEOUT = 20
ORDER_TIMEOUT = timedelta(seconds=90)
_PROOF = ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier."""


class _TlsAlpn01Response(challenges.KeyAuthorizationChallengeResponse):
    typ = "tls-alpn-01"


class _TlsAlpn01(challenges.KeyAuthorizationChallenge):
    """The library has left this one out. Its proof is the digest that the certificate bears."""

    response_cls = _TlsAlpn01Response
    typ = response_cls.typ

    def validation(self, account_key: JWK, **_unused: Any) -> bytes:
        return hashlib.sha256(self.key_authorization(account_key).encode()).digest()


challenges.ChallengeResponse.register(_TlsAlpn01Response)
challenges.Challenge.register(_TlsAlpn01)


def new_key() -> bytes:
    """A P-256 key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def obtain(settings: AcmeSettings, name: str, account_key: bytes, relay: Relay, kinds: tuple[str, ...]) -> bytes:
    """A fresh key and the chain for it, PEM, in this order. `kinds`: of proof, in the order of trying. Raises
    RelayError."""
    try:
        client, key = _log_in(settings, _private(account_key))
        return _first_that_works(client, key, name, relay, kinds)
    except messages.Error as error:
        raise RelayError(f"{settings.url} refuses: {_one_line(error.detail or error.code or error.typ)}") from None
    except errors.TimeoutError:
        raise RelayError(f"{settings.url} did not decide in time") from None
    except requests.exceptions.RequestException as error:
        why = _innermost(error)
        told = "; have --acme-ca, or `ca` of [acme], vouch for it" if isinstance(why, ssl.SSLError) else ""
        raise RelayError(f"cannot reach {settings.url}: {_one_line(why)}{told}") from None
    except (errors.Error, JoseError, ValueError, KeyError) as error:
        raise RelayError(f"{settings.url} speaks no ACME that we know: {_one_line(error)}") from None


def _private(account_key: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(account_key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RelayError("the file acme/account.key of --state holds no key: restore it, or remove it") from None


def _log_in(settings: AcmeSettings, private: PrivateKeyTypes) -> tuple[ClientV2, JWK]:
    key = JWKEC(key=ComparableECKey(private))  # type: ignore[arg-type]
    net = ClientNetwork(key, alg=ES256, user_agent="ginnel", timeout=REQUEST_TIMEOUT)
    if settings.ca is not None:
        net.verify_ssl = str(settings.ca)  # type: ignore[assignment]  # requests takes a file too
    client = ClientV2(ClientV2.get_directory(settings.url, net), net)
    wanted = messages.NewRegistration.from_data(email=settings.email or None, terms_of_service_agreed=True)
    try:
        net.account = client.new_account(wanted)
    except errors.ConflictError as known:
        net.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())
    return client, key


def _first_that_works(client: ClientV2, key: JWK, name: str, relay: Relay, kinds: tuple[str, ...]) -> bytes:
    """An authority that can't reach one port may reach the other. A proof that failed ends its order."""
    why = []
    for kind in kinds:
        try:
            return _order(client, key, name, relay, kind)
        except errors.ValidationError as error:
            why.append(f"{kind}: {_failure(error)}")
    raise RelayError(f"the authority could not check that {name} is this relay: {'; '.join(why)}")


def _order(client: ClientV2, key: JWK, name: str, relay: Relay, kind: str) -> bytes:
    deadline = datetime.now() + ORDER_TIMEOUT  # noqa: DTZ005  (the library compares it with such)
    private = new_key()
    order = client.new_order(_request(name, private))
    try:
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_PENDING:
                _prove(client, key, name, relay, _asked(authorization.body.challenges, kind))
        order = client.poll_authorizations(order, deadline)
    finally:
        relay.clear_challenges()
        relay.set_http_challenges({})
    return private + str(client.finalize_order(order, deadline).fullchain_pem).encode()


def _asked(offered: Any, kind: str) -> messages.ChallengeBody:
    for challenge in offered:
        if isinstance(challenge, messages.ChallengeBody) and challenge.chall.typ == kind:
            return challenge
    raise RelayError(f"the authority offers no {kind}")


def _prove(client: ClientV2, key: JWK, name: str, relay: Relay, asked: messages.ChallengeBody) -> None:
    response, proof = asked.chall.response_and_validation(key)
    if asked.chall.typ == _TlsAlpn01.typ:
        relay.set_challenge(name, *proof_certificate(name, proof))
    else:
        relay.set_http_challenges({asked.chall.encode("token"): proof})
    client.answer_challenge(asked, response)


def proof_certificate(name: str, digest: bytes) -> tuple[bytes, bytes]:
    """What a handshake for `acme-tls/1` shows, and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme-tls/1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer_name=subject, subject_name=subject, public_key=key.public_key())
    made = (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(_PROOF, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), pem


def _request(name: str, private: bytes) -> bytes:
    key = load_pem_private_key(private, None)
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.add_extension(names, critical=False).sign(key, hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(Encoding.PEM)


def _failure(error: errors.ValidationError) -> str:
    said = [
        _one_line(challenge.error.detail or challenge.error.typ)
        for authorization in error.failed_authzrs
        for challenge in authorization.body.challenges
        if challenge.error is not None
    ]
    return "; ".join(said) or "no reason was given"


def _innermost(error: BaseException) -> BaseException:
    """Of what the libraries have wrapped in one another: the reason."""
    reason = getattr(error, "reason", None)
    inner = (
        reason if isinstance(reason, BaseException) else next((a for a in error.args if isinstance(a, Exception)), None)
    )
    return _innermost(inner) if inner is not None else error


def _one_line(text: object) -> str:
    """The authority's words are shown to people."""
    return "".join(char if char.isprintable() else " " for char in str(text))[:300]
