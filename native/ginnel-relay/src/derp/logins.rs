//! The connections of one key. All stay open, and the one that sent a frame last receives. Two that keep taking the
//! packets from each other, as a copied machine and its original do, are parked: neither receives while both are here
//! (tailscale: derp/derpserver/derpserver.go, dupPolicy).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::Client;
use super::registry::Correspondents;

/// So often may the packets go back to a connection that had lost them; a node that dials anew before its old
/// connection is gone does it once or twice.
const SWITCHES: u32 = 8;
const WITHIN: Duration = Duration::from_secs(30);
/// Then they may try again.
const PARKED: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Logins {
    /// The last one receives.
    connections: Vec<Arc<Client>>,
    fight: Option<Box<Fight>>,
    /// Whom the connections that left have sent to.
    correspondents: Correspondents,
}

/// What a frame from one of several connections changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoke {
    Nothing,
    /// They fight: nobody receives from now on.
    Parked,
    /// Whoever speaks receives again.
    Released,
}

impl Logins {
    pub(crate) fn enter(&mut self, client: &Arc<Client>) {
        self.connections.push(client.clone());
        self.mark_duplicates();
    }

    /// True if that ended a fight: who is left receives again.
    pub(crate) fn leave(&mut self, client: &Client) -> bool {
        self.connections.retain(|other| other.id != client.id);
        self.mark_duplicates();
        let parked = self.is_parked();
        if self.connections.len() <= 1 {
            self.fight = None;
        }
        parked && !self.is_parked()
    }

    pub(crate) fn spoke(&mut self, client: &Client, may_park: bool, now: Instant) -> Spoke {
        let mut outcome = Spoke::Nothing;
        if let Some(fight) = &self.fight
            && let Some(until) = fight.parked_until
        {
            if now < until {
                return Spoke::Nothing;
            }
            self.fight = None;
            outcome = Spoke::Released;
        }
        let at = self
            .connections
            .iter()
            .position(|other| other.id == client.id);
        let Some(at) = at.filter(|at| at + 1 < self.connections.len()) else {
            return outcome;
        };
        let active = self.connections.remove(at);
        self.connections.push(active);
        if may_park && self.fight.get_or_insert_default().switched(now) {
            outcome = Spoke::Parked;
        }
        outcome
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.fight
            .as_ref()
            .is_some_and(|fight| fight.parked_until.is_some())
    }

    /// Who receives.
    pub(crate) fn active(&self) -> Option<&Arc<Client>> {
        self.connections.last()
    }

    pub(crate) fn connections(&self) -> &[Arc<Client>] {
        &self.connections
    }

    /// Remember whom a connection that leaves has sent to, as many as `room` allows.
    pub(crate) fn keep(&mut self, correspondents: Correspondents, room: usize) {
        let room = room.saturating_sub(self.correspondents.len());
        self.correspondents
            .extend(correspondents.into_iter().take(room));
    }

    pub(crate) fn into_correspondents(self) -> Correspondents {
        self.correspondents
    }

    fn mark_duplicates(&self) {
        let several = self.connections.len() > 1;
        for client in &self.connections {
            client.duplicate.store(several, Ordering::Relaxed);
        }
    }
}

/// How often the packets went back, since when.
#[derive(Debug, Default)]
struct Fight {
    switches: u32,
    since: Option<Instant>,
    parked_until: Option<Instant>,
}

impl Fight {
    /// True when it is enough.
    fn switched(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now - since > WITHIN) {
            (self.since, self.switches) = (Some(now), 0);
        }
        self.switches += 1;
        if self.switches >= SWITCHES {
            self.parked_until = Some(now + PARKED);
        }
        self.parked_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_many_switches_in_a_short_time() {
        let start = Instant::now();
        let mut fight = Fight::default();
        assert!((1..SWITCHES).all(|_| !fight.switched(start)));
        assert!(fight.switched(start));
    }

    #[test]
    fn rare_switches_are_none() {
        let (mut now, mut fight) = (Instant::now(), Fight::default());
        for _ in 0..10 * SWITCHES {
            now += WITHIN / (SWITCHES - 2);
            assert!(!fight.switched(now));
        }
    }
}
