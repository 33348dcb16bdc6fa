//! One connection to another relay of the region: dial, prove the key, watch, and carry packets until it ends
//! (tailscale: derp/derphttp/mesh_client.go).

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ginnel_derp::{Client, ClientInfo, Config, Event, Frame, Key, NONCE_SIZE, PROTOCOL_VERSION};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{error::Elapsed, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::link::Link;
use super::{MeshKey, MeshPeer};
use crate::relay::Shared;

/// For one address (tailscale: derp/derphttp/derphttp_client.go, dialNodeTimeout).
const CONNECT: Duration = Duration::from_millis(1500);
/// For connecting, TLS and login together.
const OPENING: Duration = Duration::from_secs(10);
/// A relay sends a keep-alive at least every 65 s.
const SILENCE: Duration = Duration::from_secs(120);
/// Keys that one relay may have.
const MAX_KEYS: usize = 1 << 20;
/// In a PeerPresent frame: it is a relay, to which nothing is ever sent.
const IS_MESH_PEER: u8 = 2;
const HTTPS: u16 = 443;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The other relay is this one.
    Myself,
    Failed(String),
}

impl<E: std::fmt::Display> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

type Tls = TlsStream<TcpStream>;

/// A connection that is logged in.
pub(super) struct Session {
    client: Client,
    read: ReadHalf<Tls>,
    write: WriteHalf<Tls>,
    /// Bytes that go out before any packet.
    answers: Vec<u8>,
}

impl Session {
    pub(super) async fn open(
        shared: &Shared,
        peer: &MeshPeer,
        key: &MeshKey,
    ) -> Result<Self, Ended> {
        timeout(OPENING, open(shared, peer, key))
            .await
            .map_err(|_| Ended::Failed("the login took too long".into()))?
    }

    /// Until it ends, which it always does with an error. The link's keys stay in the table: the caller clears them.
    pub(super) async fn run(
        self,
        shared: &Shared,
        link: &Arc<Link>,
        keys: &mut Keys<'_>,
    ) -> Result<(), Ended> {
        let answers = tokio::sync::mpsc::channel(4);
        let reading = read_all(self.client, self.read, keys, answers.0);
        let writing = write_all(shared, link, self.write, self.answers, answers.1);
        tokio::select! {
            ended = reading => ended,
            ended = writing => ended,
        }
    }
}

/// The keys of one link: in the table, and here so that they can be cleared.
pub(super) struct Keys<'a> {
    pub(super) shared: &'a Shared,
    pub(super) link: Arc<Link>,
    pub(super) present: HashSet<Key>,
    pub(super) count: &'a (dyn Fn(usize) + Sync),
}

impl Keys<'_> {
    fn present(&mut self, key: &Key) {
        if self.present.len() >= MAX_KEYS {
            return self.shared.counters.mesh_too_many.one();
        }
        if self.present.insert(*key) {
            self.shared.mesh.table.present(key, &self.link);
            (self.count)(self.present.len());
        }
    }

    fn gone(&mut self, key: &Key) {
        if self.present.remove(key) {
            self.shared.mesh.gone(self.shared, key, &self.link);
            (self.count)(self.present.len());
        }
    }
}

/// However the session ends, nothing is sent by it any more.
impl Drop for Keys<'_> {
    fn drop(&mut self) {
        self.shared.counters.gone.add(self.link.close());
        for key in self.present.drain() {
            self.shared.mesh.gone(self.shared, &key, &self.link);
        }
        (self.count)(0);
    }
}

async fn open(shared: &Shared, peer: &MeshPeer, key: &MeshKey) -> Result<Session, Ended> {
    let tcp = connect(peer).await?;
    tcp.set_nodelay(true)?;
    let config = ginnel_tls::client_config(&peer.verify)?;
    let name = ServerName::try_from(peer.host.clone())?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    let fast_start = ginnel_tls::fast_start_key(tls.get_ref().1);
    if fast_start == Some(shared.public) {
        return Err(Ended::Myself);
    }
    let mut answers = Vec::new();
    let mut client = Client::start(login(shared, peer, key, fast_start)?, &mut answers);
    let (mut read, mut write) = split(tls);
    loop {
        write.write_all(&answers).await?;
        write.flush().await?;
        answers.clear();
        if read_some(&mut client, &mut read).await? == 0 {
            return Err(
                "the relay closed the connection at the login, as with another mesh key".into(),
            );
        }
        if let Some(Event::Ready { server, .. }) = client.next_event(&mut answers)? {
            if server == shared.public {
                return Err(Ended::Myself);
            }
            break;
        }
    }
    Frame::WatchConns.encode(&mut answers)?;
    Ok(Session {
        client,
        read,
        write,
        answers,
    })
}

async fn connect(peer: &MeshPeer) -> Result<TcpStream, Ended> {
    let mut addresses: Vec<SocketAddr> = peer
        .addresses
        .iter()
        .map(|ip: &IpAddr| SocketAddr::new(*ip, peer.port))
        .collect();
    if addresses.is_empty() {
        addresses = lookup_host((peer.host.as_str(), peer.port))
            .await?
            .collect();
    }
    let mut why = "it has no address".to_owned();
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(Elapsed { .. }) => why = format!("{address} does not answer"),
        }
    }
    Err(Ended::Failed(why))
}

fn login(
    shared: &Shared,
    peer: &MeshPeer,
    key: &MeshKey,
    fast_start: Option<Key>,
) -> Result<Config, Ended> {
    let mut nonce = [0; NONCE_SIZE];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "no randomness")?;
    Ok(Config {
        secret: shared.secret.clone(),
        nonce,
        host: match peer.port {
            HTTPS => peer.host.clone(),
            port => format!("{}:{port}", peer.host),
        },
        ideal_node: None,
        fast_start,
        info: ClientInfo {
            version: PROTOCOL_VERSION,
            mesh_key: Some(key.bytes()),
            ..ClientInfo::default()
        },
    })
}

async fn read_some(
    client: &mut Client,
    read: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<usize> {
    let size = read.read(client.space()).await?;
    client.filled(size);
    Ok(size)
}

async fn read_all(
    mut client: Client,
    mut read: impl AsyncRead + Unpin,
    keys: &mut Keys<'_>,
    answers: tokio::sync::mpsc::Sender<Vec<u8>>,
) -> Result<(), Ended> {
    loop {
        let mut out = Vec::new();
        while let Some(event) = client.next_event(&mut out)? {
            match event {
                Event::PeerPresent { flags, .. } if flags & IS_MESH_PEER != 0 => {}
                Event::PeerPresent { peer, .. } => keys.present(peer),
                Event::PeerGone { peer, .. } => keys.gone(peer),
                _ => {}
            }
        }
        if !out.is_empty() {
            // Answers to pings. A relay that sends them faster than it takes the answers does without some.
            let _ = answers.try_send(out);
        }
        match timeout(SILENCE, read_some(&mut client, &mut read)).await {
            Ok(Ok(0)) => return Err("the relay closed the connection".into()),
            Ok(size) => drop(size?),
            Err(Elapsed { .. }) => return Err("the relay fell silent".into()),
        }
    }
}

async fn write_all(
    shared: &Shared,
    link: &Link,
    mut write: impl AsyncWrite + Unpin,
    mut first: Vec<u8>,
    mut answers: tokio::sync::mpsc::Receiver<Vec<u8>>,
) -> Result<(), Ended> {
    loop {
        let mut writing = async |bytes: &[u8]| -> Result<(), Ended> {
            let flushed = async {
                write.write_all(bytes).await?;
                write.flush().await
            };
            match timeout(shared.limits.mesh_write, flushed).await {
                Ok(done) => Ok(done?),
                Err(Elapsed { .. }) => {
                    shared.counters.mesh_write_timeout.one();
                    Err("the relay took nothing for too long".into())
                }
            }
        };
        if !first.is_empty() {
            writing(&first).await?;
            first.clear();
        }
        tokio::select! {
            Some(more) = answers.recv() => first = more,
            packets = link.take(&mut first) => {
                shared.counters.mesh_forwarded_out.add(packets.all);
            }
        }
    }
}
