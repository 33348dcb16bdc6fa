//! Who is connected here. Several connections may have one key: all stay open, and the one that sent a frame last
//! receives.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ginnel_derp::Key;
use parking_lot::RwLock;

use super::client::Client;
use crate::config::MAX_CORRESPONDENTS;

#[derive(Default)]
struct Logins {
    /// The last one receives.
    connections: Vec<Arc<Client>>,
    /// Whom the connections that left have sent to.
    correspondents: Correspondents,
}

/// Receivers and which connection of theirs.
pub(crate) type Correspondents = HashMap<Key, u64>;

/// Who may log in. Taken before the registry's own lock, never after.
struct Members {
    only: bool,
    keys: HashSet<Key>,
}

pub(crate) struct Registry {
    members: RwLock<Members>,
    logins: RwLock<HashMap<Key, Logins>>,
    next_id: AtomicU64,
}

impl Registry {
    pub(crate) fn new(members_only: bool) -> Self {
        Self {
            members: RwLock::new(Members {
                only: members_only,
                keys: HashSet::new(),
            }),
            logins: RwLock::default(),
            next_id: AtomicU64::new(1),
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
        // Held until the login stands in the table, so that a change of members either refuses or finds it.
        let members = self.members.read();
        if !members.admits(&client.key) {
            return false;
        }
        let mut logins = self.logins.write();
        let same = &mut logins.entry(client.key).or_default().connections;
        same.push(client.clone());
        mark_duplicates(same);
        true
    }

    /// If that was the key's last connection, all whom the key has sent to. Otherwise they are kept until it is.
    pub(crate) fn remove(
        &self,
        client: &Client,
        correspondents: Correspondents,
    ) -> Option<Correspondents> {
        let mut logins = self.logins.write();
        let same = logins.get_mut(&client.key)?;
        same.connections.retain(|other| other.id != client.id);
        mark_duplicates(&same.connections);
        let room = MAX_CORRESPONDENTS.saturating_sub(same.correspondents.len());
        same.correspondents
            .extend(correspondents.into_iter().take(room));
        if !same.connections.is_empty() {
            return None;
        }
        logins.remove(&client.key).map(|same| same.correspondents)
    }

    pub(crate) fn receiver(&self, key: &Key) -> Option<Arc<Client>> {
        self.logins
            .read()
            .get(key)
            .and_then(|same| same.connections.last().cloned())
    }

    /// The connection with this id, if it is still there.
    pub(crate) fn connection(&self, key: &Key, id: u64) -> Option<Arc<Client>> {
        let logins = self.logins.read();
        logins
            .get(key)?
            .connections
            .iter()
            .find(|client| client.id == id)
            .cloned()
    }

    /// This connection sent a frame last.
    pub(crate) fn activate(&self, client: &Client) {
        let mut logins = self.logins.write();
        let Some(same) = logins.get_mut(&client.key) else {
            return;
        };
        if let Some(at) = same
            .connections
            .iter()
            .position(|other| other.id == client.id)
        {
            let active = same.connections.remove(at);
            same.connections.push(active);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.logins
            .read()
            .values()
            .flat_map(|same| same.connections.iter().cloned())
            .collect()
    }

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

fn mark_duplicates(same: &[Arc<Client>]) {
    same.iter()
        .for_each(|client| client.duplicate.store(same.len() > 1, Ordering::Relaxed));
}
