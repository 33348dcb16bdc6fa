//! The relays of one region: each is connected to each, tells who is connected to it, and forwards what is for a
//! client of another (tailscale: cmd/derper/mesh.go, derp/derpserver).
//!
//! ```text
//!   relay A                                              relay B
//!   link to B  -- login with the mesh key, WatchConns --> a client with the role of a relay
//!              <-- PeerPresent, PeerGone ---------------  (B's clients)
//!              -- ForwardPacket ----------------------->  to B's client, and never any further
//! ```

mod key;
mod link;
mod session;
mod table;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use ginnel_derp::Key;
use ginnel_tls::Verify;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::derp::{Client, Correspondents, tell_gone};
use crate::relay::Shared;
pub use key::MeshKey;
pub(crate) use link::Link;
use session::{Ended, Keys, Session};
use table::Table;

/// Another relay of the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshPeer {
    /// Name or IP address, for SNI, the certificate and the `Host` header.
    pub host: String,
    /// In order of preference; none: the name is looked up.
    pub addresses: Vec<IpAddr>,
    /// Where it listens for TLS.
    pub port: u16,
    /// How its certificate is checked.
    pub verify: Verify,
}

/// What is known of a link: host, whether it stands, keys there, and why it does not stand.
pub type MeshRow = (String, bool, usize, String);

/// Our side of the mesh.
#[derive(Default)]
pub(crate) struct Mesh {
    key: RwLock<Option<MeshKey>>,
    pub(crate) table: Table,
    links: Mutex<Vec<Kept>>,
    /// Relays that are logged in here.
    clients: Mutex<Vec<Arc<Client>>>,
}

/// A link that is dialled again and again.
struct Kept {
    peer: MeshPeer,
    status: Arc<Mutex<Status>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Status {
    connected: bool,
    keys: usize,
    why: String,
    myself: bool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mesh {
    /// Links that are wanted no more end, those that stay are left alone. Another key ends all there are, both ways.
    pub(crate) fn set(
        shared: &Arc<Shared>,
        runtime: &Handle,
        key: Option<MeshKey>,
        peers: Vec<MeshPeer>,
    ) {
        let mesh = &shared.mesh;
        let mut links = mesh.links.lock();
        if !mesh.replace_key(&key) {
            links.clear();
        }
        links.retain(|kept| key.is_some() && peers.contains(&kept.peer));
        let Some(key) = key else { return };
        for peer in peers {
            if links.iter().all(|kept| kept.peer != peer) {
                let status = Arc::<Mutex<Status>>::default();
                let keeping = keep(shared.clone(), peer.clone(), key.clone(), status.clone());
                let task = runtime.spawn(keeping);
                links.push(Kept { peer, status, task });
            }
        }
    }

    /// False if it is another one: the relays that came with the old one are closed.
    fn replace_key(&self, key: &Option<MeshKey>) -> bool {
        let mut current = self.key.write();
        let same = match (&*current, key) {
            (None, None) => true,
            (Some(old), Some(new)) => old.is(&new.bytes()),
            _ => false,
        };
        if !same {
            current.clone_from(key);
            self.clients.lock().iter().for_each(|client| client.close());
        }
        same
    }

    /// Whether a login that claims this key is a relay of the region.
    pub(crate) fn admits(&self, claimed: &Key) -> bool {
        self.key.read().as_ref().is_some_and(|key| key.is(claimed))
    }

    /// A relay has logged in; false if the key is no longer the one it came with.
    pub(crate) fn enter(&self, client: &Arc<Client>, claimed: &Key) -> bool {
        // Held, so that another key either refuses or finds it.
        let key = self.key.read();
        let admitted = key.as_ref().is_some_and(|key| key.is(claimed));
        if admitted {
            self.clients.lock().push(client.clone());
        }
        admitted
    }

    pub(crate) fn leave(&self, client: &Client) {
        self.clients.lock().retain(|other| other.id != client.id);
    }

    pub(crate) fn forwarder(&self, key: &Key) -> Option<Arc<Link>> {
        self.table.forwarder(key)
    }

    pub(crate) fn remember(&self, from: &Key, to: &Key, receiver: u64) {
        self.table.remember(from, to, receiver);
    }

    /// A key left this relay. Those it has sent to are told, unless another relay of the region has it.
    pub(crate) fn left_here(&self, shared: &Shared, key: &Key, correspondents: Correspondents) {
        if let Err(correspondents) = self.table.keep(key, correspondents) {
            tell_gone(shared, key, correspondents);
        }
    }

    /// A key left another relay. Those it has sent to are told, unless it is here or at a third one.
    fn gone(&self, shared: &Shared, key: &Key, link: &Arc<Link>) {
        if let Some(correspondents) = self.table.gone(key, link)
            && let Err(correspondents) = shared.registry.keep(key, correspondents)
        {
            tell_gone(shared, key, correspondents);
        }
    }

    pub(crate) fn rows(&self) -> Vec<MeshRow> {
        let links = self.links.lock();
        let row = |kept: &Kept| {
            let status = kept.status.lock();
            let row = (
                kept.peer.host.clone(),
                status.connected,
                status.keys,
                status.why.clone(),
            );
            (!status.myself).then_some(row)
        };
        links.iter().filter_map(row).collect()
    }

    pub(crate) fn close(&self) {
        self.links.lock().clear();
    }
}

/// Dial, and again when it ends, until the task is stopped or the other relay turns out to be this one.
async fn keep(shared: Arc<Shared>, peer: MeshPeer, key: MeshKey, status: Arc<Mutex<Status>>) {
    loop {
        let why = match converse(&shared, &peer, &key, &status).await {
            Ok(()) => String::new(),
            Err(Ended::Failed(why)) => why,
            Err(Ended::Myself) => {
                status.lock().myself = true;
                return;
            }
        };
        shared.counters.mesh_failed.one();
        {
            let mut status = status.lock();
            (status.connected, status.why) = (false, why);
        }
        // A random part keeps the relays of a region from dialling all at once after one of them was away.
        let chance = RandomState::new().hash_one(0) % 1024;
        sleep(
            shared
                .limits
                .mesh_retry
                .mul_f64(0.8 + 0.4 * chance as f64 / 1024.0),
        )
        .await;
    }
}

async fn converse(
    shared: &Shared,
    peer: &MeshPeer,
    key: &MeshKey,
    status: &Mutex<Status>,
) -> Result<(), Ended> {
    let session = Session::open(shared, peer, key).await?;
    shared.counters.mesh_connected.one();
    {
        let mut status = status.lock();
        (status.connected, status.why) = (true, String::new());
    }
    let link = Arc::new(Link::default());
    let mut keys = Keys {
        shared,
        link: link.clone(),
        present: HashSet::new(),
        count: &|keys| status.lock().keys = keys,
    };
    session.run(shared, &link, &mut keys).await
}
