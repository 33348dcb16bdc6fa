//! A question to the peer inside the tunnel.

use std::net::IpAddr;
use std::time::Instant;

use ginnel_tunnel::pad;

use super::{Pump, PumpError};
use crate::Key;
use crate::send::Sender;
use crate::tsmp;

impl Pump {
    /// Ask the peer for a sign of life by data: a ping of protocol 99 from our address to its, by the direct way alone.
    /// The answer shows up as "received". Without a direct way or a session nothing is asked.
    pub fn ask_inside(&self, key: &Key, source: &str, destination: &str) -> Result<(), PumpError> {
        let address = |text: &str| -> Result<IpAddr, PumpError> {
            text.parse()
                .map_err(|_| PumpError::Address(text.to_owned()))
        };
        let (source, destination) = (address(source)?, address(destination)?);
        let Some(mut packet) = tsmp::ping(source, destination) else {
            return Err(PumpError::Value(format!(
                "{source} and {destination} are of two families"
            )));
        };
        let Some(peer) = self.shared.by_key(key).filter(|peer| peer.was_used()) else {
            return Ok(());
        };
        let now = Instant::now();
        let mut messages = Vec::new();
        let mut tunnel = peer.tunnel(&self.shared.identity, now);
        if tunnel.has_keypair() {
            pad(&mut packet, usize::MAX);
            tunnel.seal(packet, now, &mut messages);
        }
        drop(tunnel);
        let mut sender = Sender::default();
        self.shared
            .transmit_directly(&peer, &mut messages, &mut sender);
        sender.flush(&self.shared);
        Ok(())
    }
}
