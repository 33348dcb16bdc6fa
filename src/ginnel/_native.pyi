"""The typed contract of the Rust extension. Tables go down, batches come up, one descriptor wakes the loop."""

from collections.abc import Mapping, Sequence
from typing import Literal, final

Address = tuple[str, int]
"""IP address as text, port."""

SideAddress = tuple[str, int, int]
"""The same by a side socket: IP address, port, the socket's number."""

PumpAside = (
    tuple[Literal["disco"], Address | SideAddress, bytes]  # a disco datagram by UDP: source, packet
    | tuple[Literal["stun"], Address | SideAddress, bytes]  # a STUN answer: source, packet
    | tuple[Literal["relayed-disco"], int, bytes, bytes]  # region, source node key, packet
    | tuple[Literal["sent"], bytes]  # the tunnel sent for this peer: at once after 0.5 s of silence, then as often
    | tuple[
        Literal["received"], bytes, Address | SideAddress | int
    ]  # authentic data from this peer, by endpoint or region; likewise,
    # for UDP and relays apart
    | tuple[Literal["handshake"], bytes]  # a new keypair with this peer
    | tuple[Literal["peer-disco"], bytes, bytes]  # the peer told its disco key inside the tunnel: node key, disco key
    | tuple[Literal["unsendable"], Address | SideAddress, int]  # UDP destination, errno
    | tuple[Literal["relay-wanted"], int]  # a packet waits for a region that is not connected; at most 1 a second
    | tuple[Literal["relay-up"], int, bytes, Address]  # region, the relay's key, its address
    | tuple[Literal["relay-down"], int, str, bool]  # region, why in one line, whether it just fell silent
    | tuple[Literal["relay-stayed"], int, str]  # region, why `relay_move` failed; the old connection carries on
    | tuple[Literal["relay-gone"], int, bytes, int]  # region, peer's node key, reason
    | tuple[Literal["relay-health"], int, str]  # region, problem or ""
    | tuple[Literal["relay-restarting"], int, int, int]  # region, reconnect in ms, try for ms
)

@final
class PeerCounters:
    """One peer's counters: bytes of WireGuard messages; times are seconds since 1970, 0.0 for never."""

    key: bytes
    tx_bytes: int
    rx_bytes: int
    last_handshake: float
    last_sent: float
    last_received: float

@final
class Pump:
    """TUN <-> WireGuard <-> UDP and relays. All methods are safe from any thread and return at once."""

    def __new__(cls, private_key: bytes, *, mark: int = 0) -> Pump:
        """`mark`: SO_MARK for every socket; 0 sets none."""

    def open_tun(self, name: str, mtu: int) -> str:
        """Make the TUN device with offloads and start pumping; returns its real name. Raises OSError."""

    def bind(self, port: int) -> tuple[int, int]:
        """(Re)bind both UDP sockets; 0 lets the system choose. Returns (IPv4 port, IPv6 port; 0: no such family).
        The port that is in use already keeps its sockets. Raises OSError; the old sockets stay in use then."""

    def set_peer(self, key: bytes, allowed_ips: Sequence[str]) -> None:
        """Add a peer, or change what it may send and is sent. A new one is steered nowhere, and not answered
        either, until `steer`. Raises ValueError on a bad prefix or key."""

    def reset_peer(self, key: bytes) -> None:
        """The peer restarted, so its sessions are dead. If there was one, or packets wait, a handshake begins at once
        by the steered path, repeated after 0.5, 1 and 2 s while nobody answers."""

    def ask_inside(self, key: bytes, source: str, to: str) -> None:
        """Ask the peer for a sign of life by data, through the direct way alone: a ping of protocol 99 from our address
        to its. The answer comes up as "received". Nothing is sent without a direct way or a session. Raises ValueError
        on a bad address or two families."""

    def remove_peer(self, key: bytes) -> None: ...
    def steer(self, key: bytes, endpoint: Address | None, region: int, *, socket: int = 0) -> None:
        """Send this peer's packets to the endpoint, by a side socket if one is named, and, when `region` is not 0, by
        that region's relay as well. Region 0xffffffff: by no relay, not even an answer. Socket 0xffffffff: never by
        UDP, not even an answer.
        With neither, up to 128 packets wait for a path and older ones are dropped and counted; an answer to the peer's
        handshake goes back where that came from. A handshake that waits for its answer is repeated on a new endpoint.
        An unknown key is ignored."""

    def set_addresses(self, addresses: Sequence[str]) -> None:
        """The prefixes this node receives for: its own addresses and the routes it serves."""

    def set_filter(self, rules: Sequence[tuple[Sequence[str], Sequence[tuple[str, int, int]], Sequence[int]]]) -> None:
        """Replace the packet filter: (source prefixes, [(destination prefix, first port, last port)], protocols).
        Sources and destinations are prefixes or `a-b` ranges; no rule at all lets nothing in. Raises ValueError."""

    def send_udp(self, to: Address, packet: bytes) -> None:
        """Send a disco or STUN packet from the tunnel's own socket; failure comes back as "unsendable"."""

    def open_sides(self, count: int) -> list[tuple[int, int]]:
        """Open side sockets, IPv4 on ports of the system's choice: (number, port) of each. Fewer than `count` come
        where 1024 are open or the process's descriptors run low. What they receive comes up as from the tunnel's own
        sockets. Raises OSError."""

    def close_sides(self, numbers: Sequence[int]) -> None:
        """Close side sockets; a peer that is still steered to one is "unsendable" (EADDRNOTAVAIL) from then on."""

    def send_side(self, socket: int, to: Address, packet: bytes, *, ttl: int = 0) -> None:
        """Send a disco or STUN packet from a side socket. `ttl`: hops that it may go, 0: the system's default."""

    def relay_open(self, region: int, server_name: str, addresses: Sequence[Address], verify: str) -> None:
        """Dial one relay in its own thread, addresses in order, 1.5 s each. `verify` is `name:<host>`,
        `sha256-raw:<hex>` or `insecure`. An open connection of the region is kept if the arguments are the same."""

    def relay_move(self, region: int, server_name: str, addresses: Sequence[Address], verify: str) -> None:
        """Dial like `relay_open`, even with the same arguments, while the region's connection carries on: the new one
        takes over when it is logged in ("relay-up"). If it fails, the old one stays ("relay-stayed")."""

    def relay_close(self, region: int) -> None:
        """Close the region's connection; no "relay-down" follows. One that ends otherwise is not dialled again here."""

    def relay_prefer(self, region: int) -> None:
        """Tell every open relay whether it is home now; also those opened later. 0: none is."""

    def relay_send(self, region: int, to: bytes, packet: bytes) -> None:
        """Send a disco packet by a region's relay; dropped and counted if its queue is full."""

    def drain(self, limit: int) -> list[PumpAside]: ...
    def fileno(self) -> int:
        """Readable while `drain` has something."""

    def peers(self) -> list[PeerCounters]: ...
    def counters(self) -> dict[str, int]:
        """Drops and events by name, for example `udp.short`, `filter.no_rule`, `relay.queue_head`."""

    def close(self) -> None:
        """Stop the threads, remove the TUN device. Calling it twice does nothing."""

MeshPeer = tuple[str, Sequence[str], int, str]
"""Another relay of the region: host, IP addresses (none: the host is looked up), port, CertName of the DERP map."""

@final
class Relay:
    """The front door: TLS with DERP and the splice, port 80, STUN."""

    def __new__(
        cls,
        private_key: bytes,
        *,
        certificate: bytes,
        certificate_key: bytes,
        tls: Sequence[str],
        http: Sequence[str],
        stun: Sequence[str],
        splice: str | None,
        members_only: bool,
        threads: int = 2,
        handshake_timeout: float = 10.0,
        write_timeout: float = 2.0,
        limits: Mapping[str, float] = ...,
        inherited: Sequence[int] = ...,
        ask_before_login: bool = False,
    ) -> Relay:
        """Bind and serve. `certificate`: PEM chain, leaf first, the relay's `derpkey` certificate last.
        `tls`, `http`, `stun`: "ip:port" to listen on (port 0: any). `splice`: unix socket of the server behind.
        The timeouts, in seconds: for TLS with the request's head and again for the login; for a client that takes
        no byte. `limits`, all optional: `connections` in all, `per_prefix` from one IPv4 address or IPv6 /64, of these
        `half_open_per_prefix` before a request or login, `limit_loopback` (1: prefixes of loopback too), `receive_rate`
        and `receive_burst` in bytes a second and bytes from one client (0: no limit), `total_rate` and `total_burst`
        from all clients together, `stun_rate` in answers a second to one prefix (0: no limit), `keep_alive` in seconds
        of silence, `park_fighters` (0: of two logins with one key the last to speak receives, however often that
        changes), `mesh_retry` and `mesh_write` in seconds: until another relay is dialled again, that it may take no
        packet. `inherited`: descriptors of sockets that are
        bound already; those of the addresses above are used, as copies. `ask_before_login`: a member still waits
        for `answer`, and is refused if there is none within the handshake timeout.
        Raises OSError (a port is taken), ValueError (bad PEM or key, an unknown or impossible limit)."""

    def addresses(self) -> dict[str, list[Address]]:
        """What was bound, by "tls", "http", "stun"."""

    def set_certificate(self, certificate: bytes, certificate_key: bytes) -> None: ...
    def set_challenge(self, name: str, certificate: bytes, certificate_key: bytes) -> None:
        """What a handshake for that name gets if it offers ALPN `acme-tls/1` and nothing else, PEM (RFC 8737)."""

    def clear_challenges(self) -> None: ...
    def set_http_challenges(self, tokens: Mapping[str, str]) -> None:
        """Token -> text, at `/.well-known/acme-challenge/` of plain HTTP; replaces those before."""

    def questions_fileno(self) -> int:
        """Readable while there are questions; closed with the relay."""

    def take_questions(self) -> list[tuple[int, bytes, str]]:
        """(number, node key, source IP) of logins that wait; each is told once."""

    def answer(self, number: int, allow: bool) -> None: ...
    def stop_listening(self) -> None:
        """Take no more TCP connections; those that are there go on."""

    def half_open(self) -> int:
        """Connections that have not yet said what they want."""

    def set_members(self, keys: Sequence[bytes]) -> None:
        """Replace the set of node keys that may log in when `members_only`; others' connections are closed."""

    def add_member(self, key: bytes) -> None: ...
    def remove_member(self, key: bytes) -> None: ...
    def set_bootstrap_dns(self, published: str, unpublished: Mapping[str, str]) -> None:
        """What `/bootstrap-dns` answers: the JSON of all published names, name -> list of IP addresses, and by name,
        in lower case, the JSON for who asks for one of the unpublished ones."""

    def set_mesh(self, key: bytes | None, peers: Sequence[MeshPeer]) -> None:
        """Be one of the region's relays. Who logs in with this key, 32 random bytes, is another one, and `peers` are
        kept connected; this relay itself may be among them. Other peers' links end, and with another key all do, both
        ways. None: be alone. Raises ValueError."""

    def mesh(self) -> list[tuple[str, bool, int, str]]:
        """(host, connected, clients there, why not connected) of each peer but this relay itself."""

    def set_health(self, text: str) -> None:
        """Tell every client of a problem, also those that come later; "": it is over. Cut at 1024 bytes."""

    def drain(self, reconnect_in: float, try_for: float) -> None:
        """Take no new logins but of relays, and tell every client to reconnect, in seconds. Connections stay."""

    def undrain(self) -> None: ...
    def close_clients(self, over: float = 0.0) -> None:
        """Close the clients' connections, spread over so many seconds; returns at once. The mesh stays."""

    def client_count(self) -> int:
        """Logins of clients; other relays don't count."""

    def set_rates(self, client: tuple[int, int] | None, total: tuple[int, int] | None) -> None:
        """(bytes a second, bytes at once) that each client and all together may send, from now on; None: no limit."""

    def clients(self) -> list[tuple[bytes, Address, int, int]]:
        """(node key, source, bytes in, bytes out) of each login."""

    def counters(self) -> dict[str, int]: ...
    def close(self) -> None: ...
