//! The relay as a whole: listeners, shards, tables.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ginnel_derp::{Key, Secret};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::bootstrap_dns::BootstrapDns;
use crate::config::{Config, Limits, Rate, RelayError};
use crate::counters::Counters;
use crate::derp::Registry;
use crate::front::Front;
use crate::listen::{addresses, listen_all};
use crate::mesh::{Mesh, MeshKey, MeshPeer, MeshRow};
use crate::notices::Notices;
use crate::rates::Rates;
use crate::shards::{Door, start_shards};
use crate::stun::StunServer;
use crate::verify::Question;

/// What every connection's task looks into.
pub(crate) struct Shared {
    pub(crate) secret: Secret,
    pub(crate) public: Key,
    pub(crate) splice: Option<PathBuf>,
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) mesh: Mesh,
    pub(crate) notices: Notices,
    pub(crate) rates: Rates,
    pub(crate) counters: Counters,
    pub(crate) bootstrap_dns: RwLock<BootstrapDns>,
    pub(crate) front: Front,
    /// True once no more connections are taken.
    pub(crate) unheard: watch::Sender<bool>,
    pub(crate) admission: Arc<Admission>,
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
    runtime: Handle,
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
            registry: Registry::new(config.members_only, config.limits.park_fighters),
            mesh: Mesh::default(),
            notices: Notices::default(),
            rates: Rates::new(
                config.limits.receive,
                config.limits.receive_total,
                Instant::now(),
            ),
            counters: Counters::default(),
            bootstrap_dns: RwLock::new(BootstrapDns::new("{}", HashMap::new())),
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
        let (shards, runtime) = start_shards(
            &relay.shared,
            config.threads.max(1),
            doors.collect(),
            &stopped,
        )?;
        *relay.running.lock() = Some(Running {
            stop,
            shards,
            stun,
            runtime,
        });
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

    /// What `/bootstrap-dns` answers: the JSON of all published names, and that of each unpublished one to whoever asks
    /// for it by name.
    pub fn set_bootstrap_dns(&self, published: &str, unpublished: HashMap<String, String>) {
        *self.shared.bootstrap_dns.write() = BootstrapDns::new(published, unpublished);
    }

    /// Be one of the region's relays: who shows this key is another one, and these are dialled. None: be alone. A peer
    /// that turns out to be this relay is let be.
    pub fn set_mesh(&self, key: Option<MeshKey>, peers: Vec<MeshPeer>) {
        if let Some(running) = &*self.running.lock() {
            Mesh::set(&self.shared, &running.runtime, key, peers);
        }
    }

    /// The links to the region's other relays.
    pub fn mesh(&self) -> Vec<MeshRow> {
        self.shared.mesh.rows()
    }

    /// Tell every client, also later ones, of a problem; with an empty text, that it is over.
    pub fn set_health(&self, text: &str) {
        self.shared.notices.set_health(&self.shared, text);
    }

    /// Take no logins any more and tell every client to reconnect; milliseconds. Connections stay.
    pub fn drain(&self, reconnect_in: u32, try_for: u32) {
        let shared = &self.shared;
        shared.notices.drain(shared, reconnect_in, try_for);
    }

    /// Take logins again.
    pub fn undrain(&self) {
        self.shared.notices.undrain();
    }

    /// Close every client's connection, not the region's other relays', spread over this time.
    pub fn close_clients(&self, over: Duration) {
        if let Some(running) = &*self.running.lock() {
            let clients = self.shared.registry.all();
            running.runtime.spawn(close_all(clients, over));
        }
    }

    /// Logins of clients.
    pub fn client_count(&self) -> u64 {
        self.shared.counters.clients.get()
    }

    /// How fast clients may send, each and all together. It holds for those that are here too.
    pub fn set_rates(&self, each: Option<Rate>, total: Option<Rate>) {
        self.shared.rates.set(each, total);
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
        self.shared.mesh.close();
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

/// Few at a time, so that not all of them arrive at another relay in one moment.
async fn close_all(clients: Vec<Arc<crate::derp::Client>>, over: Duration) {
    const STEP: Duration = Duration::from_millis(50);
    let steps = (over.as_millis() / STEP.as_millis()) as usize + 1;
    for some in clients.chunks(clients.len().div_ceil(steps).max(1)) {
        some.iter().for_each(|client| client.close());
        if steps > 1 {
            tokio::time::sleep(STEP).await;
        }
    }
}
