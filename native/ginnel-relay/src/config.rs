//! What a relay is started with, and its limits.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use ginnel_derp::Secret;

/// What a relay is started with. It holds a private key, and so never prints.
pub struct Config {
    /// The DERP key.
    pub secret: Secret,
    /// PEM chain, leaf first, the `derpkey` certificate last.
    pub certificate: Vec<u8>,
    /// PEM key of the leaf.
    pub certificate_key: Vec<u8>,
    /// Where to listen for TLS.
    pub tls: Vec<SocketAddr>,
    /// Where to listen for plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Where to answer STUN.
    pub stun: Vec<SocketAddr>,
    /// Unix socket of the server behind.
    pub splice: Option<PathBuf>,
    /// Only keys of the table may log in.
    pub members_only: bool,
    /// Each login waits for an answer, besides being a member.
    pub ask_before_login: bool,
    /// Sockets that who started this process has bound; those of the addresses above are used.
    pub inherited: Vec<OwnedFd>,
    /// Shards.
    pub threads: usize,
    /// Bounds of everything.
    pub limits: Limits,
}

/// Bounds of everything that somebody outside can use up.
#[derive(Debug, Clone)]
pub struct Limits {
    /// TLS handshake and the head of the request together; and again for the DERP login.
    pub handshake: Duration,
    /// A receiver that takes no byte for so long is closed (tailscale: derpserver, tcp-write-timeout).
    pub write: Duration,
    /// Silence after which the relay says that it is still here; up to a twelfth is added at random.
    pub keep_alive: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one IPv4 address or IPv6 /64. Loopback is not counted unless `limit_loopback`.
    pub per_prefix: u32,
    /// Of these, such as have not yet sent a request or logged in.
    pub half_open_per_prefix: u32,
    /// Limits of a prefix hold for loopback too.
    pub limit_loopback: bool,
    /// How fast one client may send; None: as fast as it can.
    pub receive: Option<Rate>,
    /// How fast all clients together may send; None: as fast as they can.
    pub receive_total: Option<Rate>,
    /// Connections with one key that keep taking the packets from each other get none for a while.
    pub park_fighters: bool,
    /// Another relay of the region is dialled again after so long, more or less a fifth.
    pub mesh_retry: Duration,
    /// Another relay of the region that takes no packet for so long is closed (tailscale: derp/derpserver).
    pub mesh_write: Duration,
    /// STUN answers a second to one prefix, and as many at once; 0: no limit.
    pub stun_rate: u32,
}

/// A bucket of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What flows in.
    pub bytes_per_second: u64,
    /// What it holds.
    pub burst: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            write: Duration::from_secs(2),
            keep_alive: Duration::from_secs(60),
            connections: 60_000,
            per_prefix: 4096,
            half_open_per_prefix: 512,
            limit_loopback: false,
            receive: None,
            receive_total: None,
            park_fighters: true,
            mesh_retry: Duration::from_secs(5),
            mesh_write: Duration::from_secs(5),
            stun_rate: 1000,
        }
    }
}

/// Bytes of a request's head.
pub(crate) const MAX_HEAD_SIZE: usize = 16 << 10;
/// Header fields of a request.
pub(crate) const MAX_FIELDS: usize = 64;
/// TLS bytes of one read; one turn of one client at the shard.
pub(crate) const READ_SIZE: usize = 64 << 10;
/// Packets that wait for a client whose socket is full, and as many disco messages.
pub(crate) const QUEUE_DEPTH: usize = 32;
/// Bytes of such a queue, for packets larger than usual.
pub(crate) const QUEUE_SIZE: usize = 256 << 10;
/// Bytes of packets that wait for another relay of the region: 10 ms at 0.8 Gbit/s.
pub(crate) const LINK_SIZE: usize = 1 << 20;
/// Bytes of disco messages that wait for it.
pub(crate) const LINK_DISCO_SIZE: usize = 64 << 10;
/// Bytes of pongs and notes that wait for such a client.
pub(crate) const CONTROL_SIZE: usize = 4 << 10;
/// Peers that a client is remembered to have sent to, so that they learn when it leaves.
pub(crate) const MAX_CORRESPONDENTS: usize = 16 << 10;

/// Why a relay doesn't start or take a certificate.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// An address can't be listened on.
    #[error("cannot listen on {address} ({what}): {source}")]
    Listen {
        /// tls, http or stun.
        what: &'static str,
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate or key don't hold what they should.
    #[error("{0}")]
    Certificate(String),
    /// Threads, event descriptors.
    #[error(transparent)]
    System(#[from] std::io::Error),
}
