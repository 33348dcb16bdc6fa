//! Which keys are connected to the other relays of the region, and by which link they are reached (tailscale:
//! derp/derpserver/derpserver.go, AddPacketForwarder). The link that told of a key first is preferred.

use std::collections::HashMap;
use std::sync::Arc;

use ginnel_derp::Key;
use parking_lot::RwLock;

use super::link::Link;
use crate::config::MAX_CORRESPONDENTS;
use crate::derp::Correspondents;

#[derive(Default)]
struct Entry {
    links: Vec<Arc<Link>>,
    /// Whom the key has sent to here: they learn when it leaves the region.
    correspondents: Correspondents,
}

#[derive(Default)]
pub(crate) struct Table(RwLock<HashMap<Key, Entry>>);

impl Table {
    pub(crate) fn forwarder(&self, key: &Key) -> Option<Arc<Link>> {
        self.0.read().get(key)?.links.first().cloned()
    }

    pub(crate) fn present(&self, key: &Key, link: &Arc<Link>) {
        let mut table = self.0.write();
        let links = &mut table.entry(*key).or_default().links;
        if links.iter().all(|other| !Arc::ptr_eq(other, link)) {
            links.push(link.clone());
        }
    }

    /// If that was the last link, all whom the key has sent to.
    pub(crate) fn gone(&self, key: &Key, link: &Arc<Link>) -> Option<Correspondents> {
        let mut table = self.0.write();
        let entry = table.get_mut(key)?;
        entry.links.retain(|other| !Arc::ptr_eq(other, link));
        if !entry.links.is_empty() {
            return None;
        }
        table.remove(key).map(|entry| entry.correspondents)
    }

    /// This key has sent to a client here.
    pub(crate) fn remember(&self, from: &Key, to: &Key, receiver: u64) {
        let known = |entry: &Entry| entry.correspondents.get(to) == Some(&receiver);
        if self.0.read().get(from).is_none_or(known) {
            return;
        }
        if let Some(entry) = self.0.write().get_mut(from)
            && entry.correspondents.len() < MAX_CORRESPONDENTS
        {
            entry.correspondents.insert(*to, receiver);
        }
    }

    /// The key has left here: if another relay has it, those it has sent to are kept until it leaves there too.
    pub(crate) fn keep(
        &self,
        key: &Key,
        correspondents: Correspondents,
    ) -> Result<(), Correspondents> {
        let mut table = self.0.write();
        let Some(entry) = table.get_mut(key) else {
            return Err(correspondents);
        };
        let room = MAX_CORRESPONDENTS.saturating_sub(entry.correspondents.len());
        let more = correspondents.into_iter().take(room);
        entry.correspondents.extend(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Key = [1; 32];
    const BOB: Key = [2; 32];

    fn link() -> Arc<Link> {
        Arc::default()
    }

    #[test]
    fn the_link_seen_first_is_preferred_until_it_loses_the_key() {
        let (table, first, second) = (Table::default(), link(), link());
        table.present(&ALICE, &first);
        table.present(&ALICE, &second);
        table.present(&ALICE, &first);
        assert!(Arc::ptr_eq(&table.forwarder(&ALICE).unwrap(), &first));
        assert!(table.gone(&ALICE, &first).is_none());
        assert!(Arc::ptr_eq(&table.forwarder(&ALICE).unwrap(), &second));
        assert!(table.gone(&ALICE, &second).is_some());
        assert!(table.forwarder(&ALICE).is_none());
    }

    #[test]
    fn whom_a_key_has_sent_to_is_known_when_the_last_link_loses_it() {
        let (table, only) = (Table::default(), link());
        table.remember(&ALICE, &BOB, 7);
        assert!(table.0.read().is_empty(), "nobody told of that key");
        table.present(&ALICE, &only);
        table.remember(&ALICE, &BOB, 7);
        assert!(
            table
                .keep(&ALICE, Correspondents::from([(ALICE, 8)]))
                .is_ok()
        );
        let told = table.gone(&ALICE, &only).unwrap();
        assert_eq!(told, Correspondents::from([(BOB, 7), (ALICE, 8)]));
        assert!(table.keep(&ALICE, told).is_err());
    }
}
