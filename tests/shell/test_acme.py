"""Certificates from a real ACME authority: pebble, Let's Encrypt's own, on loopback."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from ginnel.core.relay.identity import SelfSigned
from ginnel.shell import acme_order
from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_files import acme_file
from ginnel.shell.relay_settings import AcmeSettings, RelayError, RelaySettings
from ginnel.words import WallTime
from tests.ports import free_port
from tests.shell.relays import ENTROPY, Serve

pytestmark = pytest.mark.skipif(
    shutil.which("pebble") is None, reason="pebble is not installed: apt-get install pebble"
)
NAME = "relay.example"
PATIENCE = 60.0
"""Seconds: only a bound for failures."""


@dataclass(frozen=True)
class Authority:
    """`tls` and `http`: the ports at which it looks for the relay."""

    settings: AcmeSettings
    management: str
    tls: int
    http: int

    def root(self) -> str:
        trust = ssl.create_default_context(cafile=str(self.settings.ca))
        with urllib.request.urlopen(f"{self.management}/roots/0", context=trust, timeout=PATIENCE) as answer:
            return str(answer.read().decode())


@pytest.fixture(name="authority", scope="module")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    here = tmp_path_factory.mktemp("pebble")
    made = SelfSigned.make("127.0.0.1", ENTROPY, WallTime(time.time()))
    (here / "cert.pem").write_bytes(made.certificate)
    (here / "key.pem").write_bytes(made.key)
    directory, management, dns, tls, http = (free_port() for _ in range(5))
    config = {
        "listenAddress": f"127.0.0.1:{directory}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(here / "cert.pem"),
        "privateKey": str(here / "key.pem"),
        "httpPort": http,
        "tlsPort": tls,
        "domainBlocklist": ["blocked.example"],
    }
    (here / "config.json").write_bytes(msgspec.json.encode({"pebble": config}))
    none = [f"-{name}=" for name in ("http01", "https01", "tlsalpn01", "defaultIPv6")]
    names = ["pebble-challtestsrv", f"-dns01=127.0.0.1:{dns}", "-defaultIPv4=127.0.0.1", *none]
    names.append(f"-management=127.0.0.1:{free_port()}")
    pebble = ["pebble", "-config", str(here / "config.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    # A proof that was given once is asked for again, and no answer waits for a while by chance.
    manners = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "0"}
    with (here / "log").open("w") as log:
        running = [
            subprocess.Popen(command, env={**os.environ, **manners}, stdout=log, stderr=log)
            for command in (names, pebble)
        ]
        try:
            for at in (directory, management):
                _wait_for(at, running)
            settings = AcmeSettings(f"https://127.0.0.1:{directory}/dir", here / "cert.pem", "admin@relay.example")
            yield Authority(settings, f"https://127.0.0.1:{management}", tls, http)
        finally:
            for process in running:
                process.kill()
                process.wait()


def _wait_for(at: int, running: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert all(process.poll() is None for process in running), "pebble ended"
        try:
            with socket.create_connection(("127.0.0.1", at), 1):
                return
        except OSError:
            assert time.monotonic() < deadline, "pebble does not listen"


def relay_settings(state: Path, authority: Authority, **changes: object) -> RelaySettings:
    listen = {"tls": (f"127.0.0.1:{authority.tls}",), "http": (f"127.0.0.1:{authority.http}",), "stun": ()}
    return RelaySettings(  # type: ignore[arg-type]
        **{"state": state, "hostname": NAME, "acme": authority.settings, **listen, **changes}
    )


def finish(relay: EmbeddedRelay, now: WallTime) -> bool:
    """Let what is under way end; whether the map changed."""
    assert relay.acme is not None
    relay.acme.wait(PATIENCE)
    return relay.tick(now)


def served(relay: EmbeddedRelay, root: str) -> dict[str, object]:
    """The certificate as a client sees it that trusts the authority alone."""
    trust = ssl.create_default_context(cadata=root)
    at = relay.native.addresses()["tls"][0]
    with (
        socket.create_connection(at, PATIENCE) as tcp,
        trust.wrap_socket(tcp, server_hostname=NAME) as tls,
    ):
        return dict(tls.getpeercert() or {})


def test_a_relay_gets_its_certificate_and_renews_it_ahead_of_its_end(authority: Authority, tmp_path: Path) -> None:
    now = WallTime(time.time())
    relay = EmbeddedRelay.start(relay_settings(tmp_path, authority), now)
    try:
        assert relay.leaf.self_signed  # until the authority has spoken, the map pins our own
        assert not relay.tick(now)
        assert finish(relay, now)
        assert not relay.leaf.self_signed
        assert relay.region.nodes is not None
        assert relay.region.nodes[0].cert_name == ""
        assert ("DNS", NAME) in served(relay, authority.root())["subjectAltName"]  # type: ignore[operator]
        first, life = relay.leaf, relay.leaf.expires - relay.leaf.made
        assert not relay.tick(WallTime(first.made + life * 0.6))
        assert relay.acme is not None
        relay.acme.wait(PATIENCE)
        assert not relay.tick(WallTime(first.made + life * 0.6))  # nothing was under way
        assert relay.leaf == first
        late = WallTime(first.made + life * 0.75)
        assert not relay.tick(late)
        assert not finish(relay, late)  # the map stays as it is: nothing in it is another
        assert relay.leaf.pin != first.pin
        assert relay.native.counters()["door.acme_proof"] >= 2  # from several places each time
    finally:
        relay.close()
    kept = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "acme").iterdir()}
    assert kept == dict.fromkeys(("account.key", f"{NAME}.pem", "failures.json"), 0o600)
    again = EmbeddedRelay.start(relay_settings(tmp_path, authority), now)
    again.close()
    assert again.leaf == relay.leaf


@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
def test_each_kind_of_proof_suffices(authority: Authority, serve: Serve, kind: str) -> None:
    relay = serve(tls=[f"127.0.0.1:{authority.tls}"], http=[f"127.0.0.1:{authority.http}"])
    account = acme_order.new_key()
    for _ in range(2):  # the second time the authority knows the account
        pem = acme_order.obtain(authority.settings, NAME, account, relay, (kind,))
        assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")
        assert pem.count(b"BEGIN CERTIFICATE") == 2
    assert relay.counters()["door.acme_proof"] >= 2  # from several places each time


def test_where_one_port_is_out_of_reach_the_other_suffices(authority: Authority, serve: Serve) -> None:
    relay = serve(http=[f"127.0.0.1:{authority.http}"])
    kinds = ("tls-alpn-01", "http-01")
    assert acme_order.obtain(authority.settings, NAME, acme_order.new_key(), relay, kinds)


def test_a_refusal_is_one_line_and_the_next_try_waits_also_after_a_restart(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = WallTime(time.time())
    elsewhere = relay_settings(tmp_path, authority, tls=("127.0.0.1:0",), http=("127.0.0.1:0",))
    relay = EmbeddedRelay.start(elsewhere, now)
    try:
        with caplog.at_level(logging.WARNING, "ginnel.relay"):
            relay.tick(now)
            assert not finish(relay, now)
        [said] = [record.getMessage() for record in caplog.records if record.name == "ginnel.relay"]
        assert "\n" not in said
        assert said.startswith(f"no certificate for {NAME}: the authority could not check that {NAME} is this relay: ")
        assert "tls-alpn-01: " in said
        assert "http-01: " in said
        assert "tried again in " in said
        assert relay.leaf.self_signed
    finally:
        relay.close()
    again = EmbeddedRelay.start(elsewhere, now)
    try:
        again.tick(WallTime(now + 600))
        assert not any(thread.name == "acme" for thread in _threads())
        again.tick(WallTime(now + 1200))
        assert any(thread.name == "acme" for thread in _threads())
        finish(again, WallTime(now + 1200))
    finally:
        again.close()


def _threads() -> list[object]:
    import threading

    return list(threading.enumerate())


def test_a_name_that_the_authority_does_not_sign_is_told_in_its_own_words(authority: Authority, serve: Serve) -> None:
    with pytest.raises(RelayError, match=r"https://127\.0\.0\.1:\d+/dir refuses: "):
        acme_order.obtain(authority.settings, "blocked.example", acme_order.new_key(), serve(), ("http-01",))


def test_an_authority_out_of_reach_or_not_trusted_is_said(authority: Authority, serve: Serve) -> None:
    nowhere = AcmeSettings(f"https://127.0.0.1:{free_port()}/dir")
    with pytest.raises(RelayError, match=r"^cannot reach https://127\.0\.0\.1:\d+/dir: .*refused"):
        acme_order.obtain(nowhere, NAME, acme_order.new_key(), serve(), ("http-01",))
    with pytest.raises(RelayError, match=r"^the file acme/account\.key of --state holds no key: restore it"):
        acme_order.obtain(nowhere, NAME, b"garbage", serve(), ("http-01",))
    with pytest.raises(RelayError, match=r"^cannot reach .*CERTIFICATE_VERIFY_FAILED.*; have --acme-ca"):
        acme_order.obtain(AcmeSettings(authority.settings.url), NAME, acme_order.new_key(), serve(), ("http-01",))


def test_an_address_is_no_domain(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(RelayError, match="give --domain NAME"):
        EmbeddedRelay.start(relay_settings(tmp_path, authority, hostname="127.0.0.1"), WallTime(time.time()))


def test_a_broken_file_of_an_authority_is_as_good_as_none(authority: Authority, tmp_path: Path) -> None:
    acme_file(tmp_path, NAME).parent.mkdir()
    acme_file(tmp_path, NAME).write_text("nonsense")
    relay = EmbeddedRelay.start(relay_settings(tmp_path, authority), WallTime(time.time()))
    relay.close()
    assert relay.leaf.self_signed
