//! Who is connected here, and who may be; which relays of the region watch that.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ginnel_derp::Key;
use parking_lot::RwLock;

use super::client::{Client, Role};
use super::logins::{Logins, Spoke};
use super::watch::Watch;
use crate::config::MAX_CORRESPONDENTS;

/// Receivers and which connection of theirs.
pub(crate) type Correspondents = HashMap<Key, u64>;

/// Who may log in. Taken before the registry's own lock, never after.
struct Members {
    only: bool,
    keys: HashSet<Key>,
}

/// Where a packet for a key goes.
pub(crate) enum Place {
    Here(Arc<Client>),
    /// To several connections that fight over it: nowhere.
    Parked,
    Elsewhere,
}

/// What a login's end leaves to be told.
#[derive(Default)]
pub(crate) struct Left {
    /// It was the key's last connection: all whom the key has sent to.
    pub(crate) last: Option<Correspondents>,
    /// Its end ended a fight, and this one receives again.
    pub(crate) released: Option<Arc<Client>>,
}

pub(crate) struct Registry {
    members: RwLock<Members>,
    logins: RwLock<HashMap<Key, Logins>>,
    watches: RwLock<Vec<Arc<Watch>>>,
    next_id: AtomicU64,
    park_fighters: bool,
}

impl Registry {
    pub(crate) fn new(members_only: bool, park_fighters: bool) -> Self {
        Self {
            members: RwLock::new(Members {
                only: members_only,
                keys: HashSet::new(),
            }),
            logins: RwLock::default(),
            watches: RwLock::default(),
            next_id: AtomicU64::new(1),
            park_fighters,
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_member(&self, key: &Key) -> bool {
        self.members.read().admits(key)
    }

    /// False if the key is no member, or not any more.
    pub(crate) fn insert(&self, client: &Arc<Client>) -> bool {
        {
            // Held until the login stands in the table, so that a change of members either refuses or finds it.
            let members = self.members.read();
            if !members.admits(&client.key) {
                return false;
            }
            let mut logins = self.logins.write();
            logins.entry(client.key).or_default().enter(client);
        }
        self.tell_watches(&client.key);
        true
    }

    /// Whom the connection has sent to is kept until the key's last connection is gone.
    pub(crate) fn remove(&self, client: &Client, correspondents: Correspondents) -> Left {
        let left = self.take_out(client, correspondents);
        if left.last.is_some() {
            self.tell_watches(&client.key);
        }
        left
    }

    fn take_out(&self, client: &Client, correspondents: Correspondents) -> Left {
        let mut logins = self.logins.write();
        let Some(same) = logins.get_mut(&client.key) else {
            return Left::default();
        };
        let released = same.leave(client);
        same.keep(correspondents, MAX_CORRESPONDENTS);
        if same.active().is_some() {
            let released = same.active().filter(|_| released).cloned();
            return Left {
                last: None,
                released,
            };
        }
        Left {
            last: logins.remove(&client.key).map(Logins::into_correspondents),
            released: None,
        }
    }

    /// The key is here, and somebody else has remembered whom it has sent to: given back if it is not.
    pub(crate) fn keep(
        &self,
        key: &Key,
        correspondents: Correspondents,
    ) -> Result<(), Correspondents> {
        match self.logins.write().get_mut(key) {
            Some(same) => {
                same.keep(correspondents, MAX_CORRESPONDENTS);
                Ok(())
            }
            None => Err(correspondents),
        }
    }

    pub(crate) fn place(&self, key: &Key) -> Place {
        match self.logins.read().get(key) {
            Some(same) if same.is_parked() => Place::Parked,
            Some(same) => same.active().cloned().map_or(Place::Elsewhere, Place::Here),
            None => Place::Elsewhere,
        }
    }

    /// The connection with this id, if it is still there.
    pub(crate) fn connection(&self, key: &Key, id: u64) -> Option<Arc<Client>> {
        let logins = self.logins.read();
        let same = logins.get(key)?.connections();
        same.iter().find(|client| client.id == id).cloned()
    }

    /// This connection, one of several with its key, sent a frame.
    pub(crate) fn spoke(&self, client: &Client) -> Spoke {
        let mut logins = self.logins.write();
        match logins.get_mut(&client.key) {
            Some(same) => same.spoke(client, self.park_fighters, Instant::now()),
            None => Spoke::Nothing,
        }
    }

    /// All connections of one key.
    pub(crate) fn same(&self, key: &Key) -> Vec<Arc<Client>> {
        let logins = self.logins.read();
        logins
            .get(key)
            .map_or_else(Vec::new, |same| same.connections().to_vec())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.logins
            .read()
            .values()
            .flat_map(|same| same.connections().iter().cloned())
            .collect()
    }

    // --- watching ---

    /// From now on this relay learns who comes and goes; first, who is here.
    pub(crate) fn watch(&self, watch: &Arc<Watch>) {
        self.watches.write().push(watch.clone());
        for key in self.logins.read().keys() {
            watch.mark(key);
        }
    }

    pub(crate) fn unwatch(&self, watch: &Arc<Watch>) {
        self.watches
            .write()
            .retain(|other| !Arc::ptr_eq(other, watch));
    }

    /// From where a key is connected, and what kind of client it is.
    pub(crate) fn presence(&self, key: &Key) -> Option<(SocketAddr, u8)> {
        let logins = self.logins.read();
        let active = logins.get(key)?.active()?;
        match active.role {
            Role::Node { flags } => Some((active.source, flags)),
            Role::Mesh => None,
        }
    }

    /// After the change stands in the table, as each watch looks there when its turn comes.
    fn tell_watches(&self, key: &Key) {
        self.watches.read().iter().for_each(|watch| watch.mark(key));
    }

    // --- members ---

    pub(crate) fn set_members(&self, keys: HashSet<Key>) {
        self.members.write().keys = keys;
        self.close_strangers();
    }

    pub(crate) fn add_member(&self, key: Key) {
        self.members.write().keys.insert(key);
    }

    pub(crate) fn remove_member(&self, key: &Key) {
        self.members.write().keys.remove(key);
        self.close_strangers();
    }

    fn close_strangers(&self) {
        let members = self.members.read();
        let strangers = self
            .all()
            .into_iter()
            .filter(|client| !members.admits(&client.key));
        strangers.for_each(|client| client.close());
    }
}

impl Members {
    fn admits(&self, key: &Key) -> bool {
        !self.only || self.keys.contains(key)
    }
}
