"""Whether a fault is in force: packets sent from the machine that it befell, and from the one that it did not.

Room: lab.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

from cryptography import x509

from ginnel.lab import LabError
from ginnel.lab.diagnosis.fault import Proof
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import SERVER
from ginnel.wire.stun import binding_request

PATIENCE = 1.5
HOLDS_LIMIT = 12.0
Prove = Callable[[World], Proof]


def tcp(world: World, host: str, target: str, port: int = 443) -> str:
    """`open`, `refused`, `reset`, `silent`, `unreachable`."""
    return world.lab.spaces[host].call(connect, world.lab.addresses.get(target, target), port)


def connect(address: str, port: int) -> str:
    with socket.socket() as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect((address, port))
        except TimeoutError:
            return "silent"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            return "reset"
        except OSError:
            return "unreachable"
        return "open"


def stun(world: World, host: str, relay: str = "derp-a") -> bool:
    """Whether a STUN server answers a socket of a fresh port."""
    with world.lab.spaces[host].call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.sendto(binding_request(bytes(12)), (world.lab.addresses[relay], 3478))
            return bool(probe.recv(2048))
        except OSError:
            return False


def resolves(world: World, host: str, name: str) -> str:
    """The first address that the machine's own resolver gives, "" for none."""
    found = world.lab.spaces[host].run(["sh", "-c", 'getent ahostsv4 "$0" || true', name]).split()
    return found[0] if found else ""


def page(world: World, host: str, address: str) -> tuple[int, str]:
    """Status and challenge's answer of `/generate_204`; 0 for no answer."""
    connection = HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.sock = world.lab.spaces[host].call(socket.create_connection, (address, 80), PATIENCE)
        connection.request("GET", "/generate_204", headers={"X-Tailscale-Challenge": "ts_proof"})
        response = connection.getresponse()
        return response.status, response.getheader("X-Tailscale-Response") or ""
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()


def issuer(world: World, host: str, target: str, name: str) -> str:
    """Who signed what a TLS server shows; "" when there is no handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        plain = world.lab.spaces[host].call(socket.create_connection, (world.lab.addresses[target], 443), PATIENCE)
        with plain, context.wrap_socket(plain, server_hostname=name) as inside:
            shown = inside.getpeercert(binary_form=True) or b""
    except OSError:
        return ""
    return x509.load_der_x509_certificate(shown).issuer.rfc4514_string()


def proof(**facts: tuple[object, object]) -> Proof:
    """Each fact is what was seen and what must be; the detail tells all."""
    wrong = [f"{name} is {seen}, not {want}" for name, (seen, want) in facts.items() if seen != want]
    return Proof(not wrong, "; ".join(wrong) or ", ".join(f"{name} {seen}" for name, (seen, _) in facts.items()))


def closed(host: str, *targets: str, port: int = 443, but: tuple[str, ...] = (), other: str = "") -> Prove:
    """No TCP connection from the host to the targets; to those in `but` there is one, and `other` reaches all."""

    def prove(world: World) -> Proof:
        facts: dict[str, tuple[object, object]] = {
            f"{host}-{target}:{port}": (tcp(world, host, target, port) != "open", True) for target in targets
        }
        facts |= {f"{host}-{target}": (tcp(world, host, target, port), "open") for target in but}
        if other:
            facts |= {f"{other}-{target}": (tcp(world, other, target, port), "open") for target in targets}
        return proof(**facts)

    return prove


def drops(*hosts: str, stun_answers: bool = True) -> Prove:
    """The rules beside the hosts have met packets; other UDP gets through, or not."""

    def prove(world: World) -> Proof:
        met = {host: world.sees(lambda host=host: world.dropped(host) > 0, HOLDS_LIMIT) for host in hosts}  # type: ignore[misc]
        facts: dict[str, tuple[object, object]] = {f"dropped-at-{host}": (seen, True) for host, seen in met.items()}
        facts |= {f"stun-from-{host}": (stun(world, host), stun_answers) for host in hosts}
        return proof(**facts)

    return prove


def no_stun(*hosts: str, fine: tuple[str, ...] = ()) -> Prove:
    def prove(world: World) -> Proof:
        facts: dict[str, tuple[object, object]] = {f"stun-from-{host}": (stun(world, host), False) for host in hosts}
        return proof(**facts, **{f"stun-from-{host}": (stun(world, host), True) for host in fine})

    return prove


def stays(path: str, *more: Prove) -> Prove:
    """Both ends call the path so, and whatever else."""

    def prove(world: World) -> Proof:
        with contextlib.suppress(LabError):
            world.settle(path, HOLDS_LIMIT)
        found = proof(ways=(world.ways(), (path, path)))
        proofs = [found, *(one(world) for one in more)]
        return Proof(all(one.holds for one in proofs), "; ".join(one.detail for one in proofs))

    return prove


def all_fine(world: World) -> Proof:
    """Nothing is blocked for anybody: relays, server, STUN where the network has UDP."""
    return proof(
        **{
            f"{host}-{target}": (tcp(world, host, target), "open")
            for host in (ALICE, BOB)
            for target in (*world.relay_names, SERVER)
            if host in world.lab.addresses
        }
    )
