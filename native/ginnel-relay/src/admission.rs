//! How many connections there may be: in all, from one place, and from one place without having said what they want.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Limits;
use crate::place::{Prefix, prefix};

#[derive(Debug, Default)]
struct Place {
    open: u32,
    half_open: u32,
}

#[derive(Debug, Default)]
struct Table {
    open: usize,
    half_open: usize,
    places: HashMap<Prefix, Place>,
}

#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    table: Mutex<Table>,
}

/// One admitted connection; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    place: Option<Prefix>,
    half_open: bool,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            table: Mutex::default(),
        }
    }

    pub(crate) fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Permit> {
        let place = prefix(source, self.limits.limit_loopback);
        let mut table = self.table.lock();
        if table.open >= self.limits.connections {
            return None;
        }
        if let Some(place) = place {
            let row = table.places.entry(place).or_default();
            if row.open >= self.limits.per_prefix
                || row.half_open >= self.limits.half_open_per_prefix
            {
                return None;
            }
            row.open += 1;
            row.half_open += 1;
        }
        table.open += 1;
        table.half_open += 1;
        Some(Permit {
            admission: self.clone(),
            place,
            half_open: true,
        })
    }
}

impl Admission {
    /// Connections that have not yet said what they want.
    pub(crate) fn half_open(&self) -> usize {
        self.table.lock().half_open
    }
}

impl Permit {
    /// The connection has said what it wants.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.half_open) {
            let mut table = self.admission.table.lock();
            table.half_open -= 1;
            if let Some(row) = self.place.and_then(|place| table.places.get_mut(&place)) {
                row.half_open -= 1;
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.settle();
        let mut table = self.admission.table.lock();
        table.open -= 1;
        let Some(place) = self.place else { return };
        if let Some(row) = table.places.get_mut(&place) {
            row.open -= 1;
            if row.open == 0 {
                table.places.remove(&place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(per_prefix: u32, half_open_per_prefix: u32, connections: usize) -> Arc<Admission> {
        Arc::new(Admission::new(Limits {
            per_prefix,
            half_open_per_prefix,
            connections,
            ..Limits::default()
        }))
    }

    #[test]
    fn one_place_cannot_take_another_s_room() {
        let door = admission(2, 2, 10);
        let crowd: IpAddr = "192.0.2.1".parse().unwrap();
        let held: Vec<_> = (0..2).map(|_| door.admit(crowd).unwrap()).collect();
        assert!(door.admit(crowd).is_none());
        assert!(door.admit("192.0.2.2".parse().unwrap()).is_some());
        drop(held);
        assert!(door.admit(crowd).is_some());
        assert!(door.table.lock().places.is_empty());
    }

    #[test]
    fn a_slash_64_is_one_place() {
        let door = admission(1, 1, 10);
        let _held = door.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(door.admit("2001:db8::2".parse().unwrap()).is_none());
        assert!(door.admit("2001:db8:0:1::2".parse().unwrap()).is_some());
    }

    #[test]
    fn silent_connections_run_out_before_settled_ones() {
        let door = admission(10, 1, 10);
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let mut first = door.admit(source).unwrap();
        assert!(door.admit(source).is_none());
        first.settle();
        let _second = door.admit(source).unwrap();
        assert!(door.admit(source).is_none());
    }

    #[test]
    fn the_total_holds_for_loopback_too() {
        let door = admission(1, 1, 3);
        let held: Vec<_> = (0..3)
            .map(|_| door.admit("::ffff:127.0.0.1".parse().unwrap()).unwrap())
            .collect();
        assert!(door.admit("127.0.0.1".parse().unwrap()).is_none());
        drop(held);
        assert_eq!(door.table.lock().open, 0);
    }
}
