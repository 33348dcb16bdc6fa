import socket
import ssl

import pytest
from cryptography import x509

from ginnel.lab.diagnosis.strangers import FAKE_204, FORBIDDEN, Authority, FalsePage, Interceptor
from ginnel.lab.namespace import Inside

HOST = "127.0.0.1"


@pytest.fixture
def here():
    space = Inside("here", lambda: None)
    yield space
    space.close()


def asked(connection: socket.socket) -> bytes:
    connection.sendall(b"GET /generate_204 HTTP/1.1\r\nHost: x\r\n\r\n")
    return b"".join(iter(lambda: connection.recv(4096), b""))


def test_a_portal_says_the_same_to_everybody(here):
    with FalsePage(here, HOST, 0, FAKE_204) as portal:
        for _ in range(2):
            with socket.create_connection(portal.listener.getsockname(), 5) as connection:
                assert asked(connection) == FAKE_204


@pytest.mark.parametrize("name", ["derp-a.example", "control.example"])
def test_a_proxy_shows_a_certificate_of_its_own_for_whatever_name_is_asked_for(here, name, monkeypatch):
    monkeypatch.setattr("ginnel.lab.diagnosis.strangers.original_destination", lambda _: (HOST, 1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Interceptor(here, HOST, 0, Authority("Acme"), FORBIDDEN) as proxy:
        plain = socket.create_connection(proxy.listener.getsockname(), 5)
        with plain, context.wrap_socket(plain, server_hostname=name) as inside:
            shown = x509.load_der_x509_certificate(inside.getpeercert(binary_form=True))
            assert asked(inside) == FORBIDDEN
    assert shown.subject.rfc4514_string() == f"CN={name}"
    assert "O=Acme" in shown.issuer.rfc4514_string()
