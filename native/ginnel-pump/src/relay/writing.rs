//! One connection's writer: frames gathered, TLS, one write; and whether the relay still answers.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;
use ginnel_derp::{Frame, ServerInfo, kind};
use parking_lot::Mutex;
use rustls::ClientConnection;

use super::pulse::{Due, Pulse};
use super::queue::Next;
use super::{Relay, control_frame, dial};
use crate::counters::Count;
use crate::shared::Shared;

/// Bytes of frames in one write.
const WRITE_SIZE: usize = 64 * 1024;

/// The writer's state.
pub(super) struct Writing {
    pub(super) shared: Arc<Shared>,
    pub(super) relay: Arc<Relay>,
    pub(super) tls: Arc<Mutex<ClientConnection>>,
    pub(super) budget: Arc<Mutex<Budget>>,
    pub(super) stream: TcpStream,
    pub(super) pulse: Pulse,
}

impl Writing {
    pub(super) fn run(mut self) {
        let (mut frames, mut plain, mut wire) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let until = self.pulse.next_timeout();
            let next = self.relay.queue.take(WRITE_SIZE, &mut frames, until);
            let there = match next {
                Next::Closed => return,
                Next::Time => true,
                Next::Write => self.write(&mut frames, &mut plain, &mut wire),
            };
            if !there || !self.feel_pulse() {
                // The reader finds the connection closed and tells.
                return self.relay.close();
            }
        }
    }

    /// False: the connection is over.
    fn write(
        &mut self,
        frames: &mut Vec<BytesMut>,
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> bool {
        plain.clear();
        wire.clear();
        let mut packets = 0;
        for frame in frames.drain(..) {
            if frame[0] == kind::SEND_PACKET {
                if !self.budget.lock().allows(frame.len(), Instant::now()) {
                    self.shared.counters.one(Count::RelayOverBudget);
                    continue;
                }
                packets += 1;
            }
            plain.extend_from_slice(&frame);
        }
        self.shared.counters.many(Count::RelayOut, packets);
        if packets > 0 {
            self.pulse.wrote(self.heard(), Instant::now());
        }
        let written = self
            .encrypt(plain, wire)
            .and_then(|()| self.stream.write_all(wire));
        if let Err(error) = &written
            && error.kind() == ErrorKind::TimedOut
        {
            self.relay.silent.store(true, Ordering::Release);
        }
        written.is_ok()
    }

    /// False: the relay does not answer.
    fn feel_pulse(&mut self) -> bool {
        let heard = self.heard();
        let due = self
            .pulse
            .tick(heard, Instant::now(), || dial::on_the_way(&self.stream));
        match due {
            Due::Nothing => {}
            Due::Ask => {
                self.relay
                    .queue
                    .push_control(control_frame(&Frame::Ping(u64::from(heard).to_be_bytes())));
            }
            Due::GiveUp => self.relay.silent.store(true, Ordering::Release),
        }
        due != Due::GiveUp
    }

    fn heard(&self) -> u32 {
        self.relay.heard.load(Ordering::Relaxed)
    }

    fn encrypt(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> std::io::Result<()> {
        let mut tls = self.tls.lock();
        tls.writer().write_all(plain)?;
        while tls.wants_write() {
            tls.write_tls(wire)?;
        }
        Ok(())
    }
}

/// The relay's limit, if it has one: what is above it is dropped, as it asks for (tailscale: derp/derp_client.go).
#[derive(Default)]
pub(super) struct Budget {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Option<Instant>,
}

impl Budget {
    pub(super) fn new(info: ServerInfo, now: Instant) -> Budget {
        Budget {
            per_second: info.bytes_per_second as f64,
            burst: info.bytes_burst as f64,
            left: info.bytes_burst as f64,
            at: Some(now),
        }
    }

    fn allows(&mut self, bytes: usize, now: Instant) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let passed = self
            .at
            .replace(now)
            .map_or(0.0, |at| (now - at).as_secs_f64());
        self.left = (self.left + passed * self.per_second).min(self.burst);
        if self.left < bytes as f64 {
            return false;
        }
        self.left -= bytes as f64;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_relay_s_limit_is_kept_and_refills() {
        let start = Instant::now();
        let info = ServerInfo {
            version: 2,
            bytes_per_second: 1000,
            bytes_burst: 2000,
        };
        let mut budget = Budget::new(info, start);
        assert!(budget.allows(1500, start));
        assert!(!budget.allows(1500, start));
        assert!(budget.allows(1500, start + Duration::from_secs(1)));
    }

    #[test]
    fn without_a_limit_everything_goes() {
        assert!(Budget::default().allows(usize::MAX, Instant::now()));
    }
}
