//! Which answers were asked for: one bounded table of flows for each peer.
//!
//! A flow is remembered when a packet leaves for the peer, and lets the reverse direction in. Each peer has its own
//! table, so that a flood from one cannot push out another's flows. Two generations stand for least recently used:
//! at least the last [`FLOWS`] distinct flows are known, never more than twice as many are held.

use std::collections::HashSet;
use std::net::IpAddr;

/// Distinct flows that are remembered at least (tailscale: wgengine/filter/filter.go `lruMax`).
pub const FLOWS: usize = 512;

/// One direction of a conversation, seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// IP protocol.
    pub protocol: u8,
    /// Address and port (for ICMP: identifier) on this side.
    pub local: (IpAddr, u16),
    /// Address and port (for ICMP: 0) on the peer's side.
    pub remote: (IpAddr, u16),
}

/// The flows of one peer.
#[derive(Debug, Default)]
pub struct Flows {
    young: HashSet<Flow>,
    old: HashSet<Flow>,
    latest: Option<Flow>,
}

impl Flows {
    /// A packet of this flow has left.
    pub fn record(&mut self, flow: Flow) {
        if self.latest == Some(flow) {
            return;
        }
        self.latest = Some(flow);
        if self.young.len() >= FLOWS && !self.young.contains(&flow) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(flow);
    }

    /// Whether an answer on this flow was asked for. A known flow stays known while it is used.
    pub fn knows(&mut self, flow: Flow) -> bool {
        if self.latest == Some(flow) || self.young.contains(&flow) {
            return true;
        }
        let known = self.old.contains(&flow);
        if known {
            self.record(flow);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(port: u16) -> Flow {
        let address = IpAddr::from([100, 64, 0, 1]);
        Flow {
            protocol: 17,
            local: (address, port),
            remote: (address, 53),
        }
    }

    proptest! {
        #[test]
        fn the_last_flows_are_known_and_the_table_is_bounded(ports in prop::collection::vec(0u16..2000, 1..3000)) {
            let mut flows = Flows::default();
            let mut order: Vec<u16> = Vec::new();
            for port in &ports {
                flows.record(flow(*port));
                order.retain(|known| known != port);
                order.push(*port);
                prop_assert!(flows.young.len() + flows.old.len() <= 2 * FLOWS);
            }
            let recent = &order[order.len().saturating_sub(FLOWS)..];
            for port in recent.iter().rev() {
                prop_assert!(flows.young.contains(&flow(*port)) || flows.old.contains(&flow(*port)));
            }
        }
    }

    #[test]
    fn what_was_never_sent_is_unknown() {
        let mut flows = Flows::default();
        flows.record(flow(1));
        assert!(flows.knows(flow(1)));
        assert!(!flows.knows(flow(2)));
    }

    #[test]
    fn a_flow_in_use_survives_a_flood_of_others() {
        let mut flows = Flows::default();
        flows.record(flow(1));
        for port in 2..5000 {
            flows.record(flow(port));
            if port % 100 == 0 {
                assert!(flows.knows(flow(1)), "{port}");
            }
        }
    }
}
