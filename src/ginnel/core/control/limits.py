"""Every bound of the coordination server, in one place; each has a test one over it.

Room: core. Numbers only.
"""

from __future__ import annotations

# --- what a caller may send ------------------------------------------------------------------------------------
MAX_HEAD = 16 * 1024  # bytes of one HTTP/1.1 request head
HEAD_TIMEOUT = 10.0  # seconds until the head of a request is complete
MAX_VERIFY_BODY = 4 * 1024
MAX_REQUEST_BODY = 1024 * 1024  # bytes of all unfinished bodies of one Noise connection together
MAX_STRANGERS_BODY = 256 * 1024  # the same while it has not shown a registered (machine, node key) pair
MAX_JSON_DEPTH = 32
MAX_OPEN_REQUESTS = 32  # unanswered requests of one Noise connection, its map streams among them
HANDSHAKE_TIMEOUT = 5.0  # seconds from accept to the first complete request inside Noise
MAX_CONNECTIONS = 20_000
MAX_CONNECTIONS_PER_SOURCE = 4_096  # by IPv4 address or IPv6 /64: an office behind one NAT still fits
MAX_STRANGERS = 1_024  # Noise connections that have not shown a registered (machine, node key) pair
MAX_STRANGERS_PER_SOURCE = 512
REQUEST_TIMEOUT = 30.0  # seconds from a request's head to the end of its body, inside Noise
IDLE_TIMEOUT = 120.0  # seconds that a control connection may be open without any request under way
PING_AFTER = 60.0  # seconds of silence after which a connection with a map stream is asked whether it is alive
DEAD_AFTER = 100.0  # seconds of silence after which it is not
MAX_QUEUED_BYTES = 16 * 1024 * 1024  # unsent bytes of one connection; a map of 10,000 peers without zstd is 9 MB
MAX_ADMIN_BODY = 1024 * 1024

# --- what is kept ----------------------------------------------------------------------------------------------
MAX_PENDING_LOGINS = 1_024
PENDING_LIFETIME = 15 * 60.0  # seconds that an interactive login may wait for its approval
MAX_ENDPOINTS = 32
MAX_SERVICES = 32
MAX_HOST_NAME = 253
MAX_TEXT = 256  # characters of any other text a node says about itself
MAX_TAGS = 64
MAX_ROUTES = 256
MAX_NODES_PER_MACHINE = 16  # user switching makes a few; a machine key that makes more is refused
MAX_RELAYS = 1_024  # of the fleet
DRAIN_TIME = 600.0  # seconds that a relay's clients have to leave it, unless an admin says otherwise

# --- time ------------------------------------------------------------------------------------------------------
MIN_CAPABILITY = 113  # Tailscale 1.80
OFFLINE_GRACE = 10.0  # seconds after a node's last map stream ended until others are told
EPHEMERAL_GRACE = 30 * 60.0  # seconds after which an ephemeral node without a stream is deleted
KEEP_ALIVE = 50.0  # seconds of silence on a map stream, plus KEEP_ALIVE_SPREAD at random
KEEP_ALIVE_SPREAD = 9.0
FLUSH_AT_REST = 0.03  # seconds from the first change after silence to the frame that tells it: a login is several
FLUSH_WHEN_BUSY = 0.2  # seconds between two rounds of frames while changes keep coming
FIRST_REFUSAL_DELAY = 0.05  # seconds that the first refused login of a source is held; each next one twice as long
MAX_REFUSAL_DELAY = 5.0
REFUSAL_MEMORY = 60.0  # seconds after which a source's refusals are forgotten
MAX_REFUSED_SOURCES = 4_096
