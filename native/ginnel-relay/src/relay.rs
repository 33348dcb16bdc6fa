//! The relay as a whole: listeners, shards, tables.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use ginnel_derp::{Key, Secret};
use parking_lot::{Mutex, RwLock};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use crate::admission::Admission;
use crate::config::{Config, Limits, RelayError};
use crate::counters::Counters;
use crate::derp::Registry;
use crate::door::{self, Ends};
use crate::front::Front;
use crate::inherited;
use crate::stun::StunServer;
use crate::verify::Question;

const BACKLOG: i32 = 1024;
/// tailscale: cmd/derper/derper.go.
const KEEP_ALIVE: Duration = Duration::from_secs(600);
const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// What every connection's task looks into.
pub(crate) struct Shared {
    pub(crate) secret: Secret,
    pub(crate) public: Key,
    pub(crate) splice: Option<PathBuf>,
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) counters: Counters,
    pub(crate) bootstrap_dns: RwLock<Arc<str>>,
    pub(crate) front: Front,
    /// True once no more connections are taken.
    unheard: watch::Sender<bool>,
    admission: Arc<Admission>,
}

/// One login: node key, source, bytes in, bytes out.
pub type ClientRow = (Key, SocketAddr, u64, u64);

/// A relay that serves from when it is made until it is closed or dropped.
pub struct Relay {
    shared: Arc<Shared>,
    tls: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    stun: Vec<SocketAddr>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: watch::Sender<bool>,
    shards: Vec<JoinHandle<()>>,
    stun: Option<StunServer>,
}

#[derive(Debug, Clone, Copy)]
enum Door {
    Tls,
    Http,
}

impl Relay {
    /// Bind everything, then serve. Nothing stays bound after an error.
    pub fn start(config: Config) -> Result<Self, RelayError> {
        let front = Front::new(&config)?;
        let mut inherited = config.inherited;
        let tls = listen_all("tls", &config.tls, &mut inherited)?;
        let http = listen_all("http", &config.http, &mut inherited)?;
        let shared = Arc::new(Shared {
            public: config.secret.public(),
            secret: config.secret,
            splice: config.splice,
            registry: Registry::new(config.members_only),
            counters: Counters::default(),
            bootstrap_dns: RwLock::new("{}".into()),
            front,
            unheard: watch::Sender::new(false),
            admission: Arc::new(Admission::new(config.limits.clone())),
            limits: config.limits,
        });
        let stun = StunServer::start(&config.stun, shared.clone(), &mut inherited)?;
        let relay = Self {
            shared,
            tls: addresses(&tls)?,
            http: addresses(&http)?,
            stun: stun.as_ref().map(StunServer::addresses).unwrap_or_default(),
            running: Mutex::new(None),
        };
        let doors = tls
            .into_iter()
            .map(|l| (Door::Tls, l))
            .chain(http.into_iter().map(|l| (Door::Http, l)));
        let (stop, stopped) = watch::channel(false);
        let shards = start_shards(
            &relay.shared,
            config.threads.max(1),
            doors.collect(),
            &stopped,
        )?;
        *relay.running.lock() = Some(Running { stop, shards, stun });
        Ok(relay)
    }

    /// What TLS listens on.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls
    }

    /// What plain HTTP listens on.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// What STUN is answered on.
    pub fn stun_addresses(&self) -> &[SocketAddr] {
        &self.stun
    }

    /// For connections from now on.
    pub fn set_certificate(&self, certificate: &[u8], key: &[u8]) -> Result<(), RelayError> {
        self.shared.front.certificates.set(certificate, key)
    }

    /// Prove `name` to an ACME authority that asks by `acme-tls/1`.
    pub fn set_challenge(
        &self,
        name: &str,
        certificate: &[u8],
        key: &[u8],
    ) -> Result<(), RelayError> {
        let certificates = &self.shared.front.certificates;
        certificates.set_challenge(name, certificate, key)
    }

    /// Prove no name any more.
    pub fn clear_challenges(&self) -> Result<(), RelayError> {
        self.shared.front.certificates.clear_challenges()
    }

    /// What port 80 answers to an ACME authority, by token.
    pub fn set_http_challenges(&self, tokens: HashMap<String, String>) {
        *self.shared.front.http_challenges.write() = Arc::new(tokens);
    }

    /// Readable while there are questions; it lives as long as the relay.
    pub fn questions_fileno(&self) -> RawFd {
        self.shared.front.verifier.fileno()
    }

    /// Logins that wait, each told once.
    pub fn take_questions(&self) -> Vec<Question> {
        self.shared.front.verifier.take_questions()
    }

    /// Whether the login of that number goes on.
    pub fn answer(&self, number: u64, allow: bool) {
        self.shared.front.verifier.answer(number, allow);
    }

    /// Take no more connections. Those that are there go on; those that come wait for whoever else has the socket.
    pub fn stop_listening(&self) {
        self.shared.unheard.send_replace(true);
    }

    /// Connections that have not yet said what they want.
    pub fn half_open(&self) -> usize {
        self.shared.admission.half_open()
    }

    /// Replace the members; other logins are closed.
    pub fn set_members(&self, keys: HashSet<Key>) {
        self.shared.registry.set_members(keys);
    }

    /// One more member.
    pub fn add_member(&self, key: Key) {
        self.shared.registry.add_member(key);
    }

    /// One member less; its logins are closed.
    pub fn remove_member(&self, key: &Key) {
        self.shared.registry.remove_member(key);
    }

    /// What `/bootstrap-dns` answers.
    pub fn set_bootstrap_dns(&self, json: &str) {
        *self.shared.bootstrap_dns.write() = json.into();
    }

    /// Who is logged in.
    pub fn clients(&self) -> Vec<ClientRow> {
        let row = |client: Arc<crate::derp::Client>| {
            let (bytes_in, bytes_out) = (&client.bytes_in, &client.bytes_out);
            (
                client.key,
                client.source,
                bytes_in.load(Ordering::Relaxed),
                bytes_out.load(Ordering::Relaxed),
            )
        };
        self.shared.registry.all().into_iter().map(row).collect()
    }

    /// Counters by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.counters.rows()
    }

    /// Close every connection and end the threads. Calling it twice does nothing.
    pub fn close(&self) {
        let Some(running) = self.running.lock().take() else {
            return;
        };
        running.stop.send_replace(true);
        drop(running.stun);
        for shard in running.shards {
            // A shard that panicked has said so on stderr already.
            let _ = shard.join();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.close();
    }
}

fn listen_all(
    what: &'static str,
    addresses: &[SocketAddr],
    inherited: &mut Vec<OwnedFd>,
) -> Result<Vec<TcpListener>, RelayError> {
    addresses
        .iter()
        .map(|&address| {
            let both = takes_both(address, addresses);
            let listening = match inherited::take(inherited, address, Type::STREAM) {
                Ok(Some(socket)) => Ok(socket.into()),
                Ok(None) => listen(address, both),
                Err(error) => Err(error),
            };
            listening.map_err(|source| RelayError::Listen {
                what,
                address,
                source,
            })
        })
        .collect()
}

/// `[::]` takes IPv4 as well, so that one address is enough for a host with both; unless `0.0.0.0` is asked for too.
pub(crate) fn takes_both(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let same_in_v4 = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
    address.is_ipv6() && address.ip().is_unspecified() && !all.iter().any(same_in_v4)
}

fn listen(address: SocketAddr, both: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!both)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
}

fn start_shards(
    shared: &Arc<Shared>,
    threads: usize,
    doors: Vec<(Door, TcpListener)>,
    stopped: &watch::Receiver<bool>,
) -> Result<Vec<JoinHandle<()>>, RelayError> {
    let runtimes: Vec<Runtime> = (0..threads)
        .map(|_| Builder::new_current_thread().enable_all().build())
        .collect::<io::Result<_>>()?;
    let handles: Arc<[Handle]> = runtimes
        .iter()
        .map(|runtime| runtime.handle().clone())
        .collect();
    for (door, listener) in doors {
        let _entered = handles[0].enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        handles[0].spawn(accept(shared.clone(), door, listener, handles.clone()));
    }
    let start = |(number, runtime): (usize, Runtime)| {
        let mut stopped = stopped.clone();
        std::thread::Builder::new()
            .name(format!("relay-{number}"))
            .spawn(move || {
                let _ = runtime.block_on(stopped.wait_for(|&stop| stop));
                runtime.shutdown_background();
            })
    };
    Ok(runtimes
        .into_iter()
        .enumerate()
        .map(start)
        .collect::<io::Result<_>>()?)
}

/// Deal connections to the shards in turn.
async fn accept(
    shared: Arc<Shared>,
    door: Door,
    listener: tokio::net::TcpListener,
    shards: Arc<[Handle]>,
) {
    let mut unheard = shared.unheard.subscribe();
    for shard in shards.iter().cycle() {
        let accepted = tokio::select! {
            biased;
            _ = unheard.wait_for(|&unheard| unheard) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, source)) => deal(&shared, door, tcp, source, shard),
            Err(_) => {
                // No descriptors left, most likely: trying again at once would only burn the processor.
                shared.counters.accept_failed.one();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn deal(shared: &Arc<Shared>, door: Door, tcp: TcpStream, source: SocketAddr, shard: &Handle) {
    shared.counters.accepted.one();
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    let Some(permit) = shared.admission.admit(source.ip()) else {
        return shared.counters.over_limit.one();
    };
    let Ok((tcp, local)) = prepare(tcp) else {
        return shared.counters.accept_failed.one();
    };
    let (shared, ends) = (shared.clone(), Ends { source, local });
    shard.spawn(async move {
        let Ok(tcp) = TcpStream::from_std(tcp) else {
            return;
        };
        match door {
            Door::Tls => door::serve_tls(shared, tcp, ends, permit).await,
            Door::Http => door::serve_http(shared, tcp, ends, permit).await,
        }
    });
}

fn prepare(tcp: TcpStream) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let local = tcp.local_addr()?;
    let tcp = tcp.into_std()?;
    let socket = SockRef::from(&tcp);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok((
        tcp,
        SocketAddr::new(local.ip().to_canonical(), local.port()),
    ))
}
