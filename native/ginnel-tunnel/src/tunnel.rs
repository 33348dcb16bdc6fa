//! One peer: seal what goes out, open what comes in, and keep the timers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use gotatun::noise::errors::WireGuardError;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519::PublicKey;

use crate::identity::{Handshake, Identity, bytes_of};
use crate::low_order::is_low_order;
use crate::patience::Patience;

/// Packets that wait for a keypair; the oldest goes first when they are more.
pub const STAGED_MAX: usize = 128;
/// Plaintext is padded to a multiple of this.
pub const MTU_PADDING: usize = 16;
/// How old gotatun's idea of the time may grow before it is told again.
const TIME_GRAIN: Duration = Duration::from_millis(300);
/// Initiations of one peer closer than this are ignored (wireguard-go: device/noise-protocol.go).
const HANDSHAKE_GAP: Duration = Duration::from_millis(20);
/// `REKEY_TIMEOUT` of the WireGuard paper §6.1.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// When an initiation without a session is repeated: the peer may not know us yet, nor be at its relay.
const ASK_AGAIN: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// When a session whose data brings no answer is replaced: the peer may have restarted, or made its tunnel anew.
const DOUBT: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// Answers are due from a peer that spoke this lately. One that only listens need not say so for 10 s
/// (`KEEPALIVE_TIMEOUT` of the WireGuard paper §6.1).
const LIVELY: Duration = Duration::from_secs(3);

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// The counter was seen before or is older than the window.
    #[error("replayed or too old")]
    Replay,
    /// No keypair of that index.
    #[error("no such keypair")]
    NoKeypair,
    /// It does not authenticate, or fits no state.
    #[error("not authentic")]
    Forged,
    /// An initiation that is not newer than the last one, or too soon after it.
    #[error("initiation is a repeat")]
    Repeat,
    /// The peer's public key is of low order.
    #[error("public key is of low order")]
    LowOrder,
}

/// What a message brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing to tell.
    None,
    /// A new keypair is in use.
    Keypair,
}

/// Whether a tunnel still needs its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Tick it again.
    Active,
    /// No keys, nothing pending: it costs nothing until the next message.
    Asleep,
}

/// Zero-pad a packet to a multiple of 16, never above the MTU (WireGuard paper §5.4.6).
pub fn pad(packet: &mut BytesMut, mtu: usize) {
    let padded = packet.len().next_multiple_of(MTU_PADDING).min(mtu);
    if padded > packet.len() {
        packet.resize(padded, 0);
    }
}

/// One peer's sessions.
pub struct Tunnel {
    tunn: Tunn,
    staged: VecDeque<BytesMut>,
    told: Instant,
    initiated: Option<Instant>,
    answered: Option<Instant>,
    /// The keypair that we answered with and that the peer has not used yet.
    unconfirmed: Option<u32>,
    /// Nothing older than the unconfirmed keypair: data must wait.
    hold: bool,
    /// The handshake that has waited for an answer longest.
    asking: Patience,
    /// The data that has waited for an answer longest, of a peer from which one is due.
    doubt: Patience,
    /// When the peer last sent data.
    spoke: Option<Instant>,
    /// Nothing was heard on any session yet.
    unheard: bool,
}

impl Tunnel {
    /// A tunnel with one peer. No preshared key, no persistent keepalive.
    pub fn new(identity: &Identity, peer: [u8; 32], now: Instant) -> Result<Tunnel, TunnelError> {
        if is_low_order(&peer) {
            return Err(TunnelError::LowOrder);
        }
        let tunn = Tunn::new(
            identity.private(),
            PublicKey::from(peer),
            None,
            None,
            identity.indices.clone(),
            Arc::clone(&identity.calm),
        );
        Ok(Tunnel {
            tunn,
            staged: VecDeque::new(),
            told: now,
            initiated: None,
            answered: None,
            unconfirmed: None,
            hold: false,
            asking: Patience::new(&ASK_AGAIN),
            doubt: Patience::new(&DOUBT),
            spoke: None,
            unheard: true,
        })
    }

    /// Seal a padded packet onto `out`. Without a keypair it is staged, and `out` may get an initiation.
    /// Returns how many older packets had to give way.
    pub fn seal(&mut self, packet: BytesMut, now: Instant, out: &mut Vec<BytesMut>) -> usize {
        self.tell_time(now, out);
        if self.hold {
            return self.stage(packet);
        }
        match self
            .tunn
            .encapsulate_with_session(Packet::from_bytes(packet))
        {
            Ok(sealed) => {
                out.push(bytes_of(sealed.into()));
                self.expect_answer(now, out);
                0
            }
            Err(mut packet) => {
                let dropped = self.stage(std::mem::take(packet.buf_mut()));
                self.initiate(now, false, out);
                dropped
            }
        }
    }

    /// Keep a packet until there is a path or a keypair; returns how many older ones gave way.
    pub fn stage(&mut self, packet: BytesMut) -> usize {
        self.staged.push_back(packet);
        let excess = self.staged.len().saturating_sub(STAGED_MAX);
        self.staged.drain(..excess);
        excess
    }

    /// Open a transport message: the padded packet, empty for a keepalive.
    /// Replies and released packets go onto `out`.
    pub fn open(
        &mut self,
        message: BytesMut,
        now: Instant,
        out: &mut Vec<BytesMut>,
    ) -> Result<(BytesMut, Event), TunnelError> {
        self.tell_time(now, out);
        let receiver = ginnel_wire::wireguard::message(&message);
        let data = match Packet::from_bytes(message).try_into_wg() {
            Ok(WgKind::Data(data)) => WgKind::Data(data),
            _ => return Err(TunnelError::Forged),
        };
        let plain = match self.tunn.handle_incoming_packet(data) {
            TunnResult::WriteToTunnel(mut plain) => std::mem::take(plain.buf_mut()),
            TunnResult::Err(error) => return Err(kind_of(&error)),
            _ => return Err(TunnelError::Forged),
        };
        self.heard(&plain, now);
        let mut event = Event::None;
        if let (Some(index), Some(ginnel_wire::wireguard::Message::Data { receiver })) =
            (self.unconfirmed, receiver)
            && index == receiver
        {
            event = Event::Keypair;
            self.confirmed(now, out);
        }
        Ok((plain, event))
    }

    fn heard(&mut self, plain: &[u8], now: Instant) {
        self.unheard = false;
        self.doubt.answered();
        if !plain.is_empty() {
            self.spoke = Some(now);
        }
    }

    /// Data was sent. The last words of a conversation need no answer, so only further ones raise the doubt.
    fn expect_answer(&mut self, now: Instant, out: &mut Vec<BytesMut>) {
        let lately = |then| now.saturating_duration_since(then) < LIVELY;
        if self.unheard || self.spoke.is_some_and(lately) {
            self.doubt.asked(now);
        }
        if self.doubt.is_due(now) {
            self.initiate(now, true, out);
        }
    }

    /// Take a handshake message that [`Identity::admit`] let pass; answers go onto `out`.
    pub fn handshake(
        &mut self,
        message: Handshake,
        now: Instant,
        out: &mut Vec<BytesMut>,
    ) -> Result<Event, TunnelError> {
        self.tell_time(now, out);
        match message {
            Handshake::Initiation(_, kind) => self.answer(kind, now, out),
            Handshake::Answer(kind) => self.take_answer(kind, now, out),
        }
    }

    fn answer(
        &mut self,
        kind: WgKind,
        now: Instant,
        out: &mut Vec<BytesMut>,
    ) -> Result<Event, TunnelError> {
        if self
            .answered
            .is_some_and(|last| now.saturating_duration_since(last) < HANDSHAKE_GAP)
        {
            return Err(TunnelError::Repeat);
        }
        let had_keypair = self.has_keypair();
        match self.tunn.handle_incoming_packet(kind) {
            TunnResult::WriteToNetwork(response) => {
                let response = bytes_of(response);
                self.answered = Some(now);
                self.unconfirmed = Some(u32::from_le_bytes([
                    response[4],
                    response[5],
                    response[6],
                    response[7],
                ]));
                self.hold = !had_keypair;
                out.push(response);
                Ok(Event::None)
            }
            TunnResult::Err(error) => Err(kind_of(&error)),
            _ => Err(TunnelError::Forged),
        }
    }

    fn take_answer(
        &mut self,
        kind: WgKind,
        now: Instant,
        out: &mut Vec<BytesMut>,
    ) -> Result<Event, TunnelError> {
        match self.tunn.handle_incoming_packet(kind) {
            TunnResult::WriteToNetwork(keepalive) => {
                out.push(bytes_of(keepalive));
                self.confirmed(now, out);
                Ok(Event::Keypair)
            }
            TunnResult::Done => Ok(Event::None),
            TunnResult::Err(error) => Err(kind_of(&error)),
            TunnResult::WriteToTunnel(_) => Err(TunnelError::Forged),
        }
    }

    fn confirmed(&mut self, now: Instant, out: &mut Vec<BytesMut>) {
        self.unconfirmed = None;
        self.hold = false;
        self.initiated = None;
        self.asking.answered();
        self.release(now, out);
    }

    /// Seal what is staged; with no keypair this starts a handshake.
    pub fn release(&mut self, now: Instant, out: &mut Vec<BytesMut>) {
        for packet in std::mem::take(&mut self.staged) {
            self.seal(packet, now, out);
        }
    }

    /// A path has come up: if a handshake waits for an answer, ask again at once.
    pub fn retry(&mut self, now: Instant, out: &mut Vec<BytesMut>) {
        self.tell_time(now, out);
        if self.initiated.is_some() {
            self.initiate(now, true, out);
        } else if !self.staged.is_empty() {
            self.release(now, out);
        }
    }

    /// Run the timers; due messages go onto `out`.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<BytesMut>) -> Life {
        self.told = now;
        match self.tunn.update_timers() {
            Ok(Some(message)) => self.push_timed(message, now, out),
            Ok(None) => {}
            Err(_) => {
                self.forget();
                return Life::Asleep;
            }
        }
        let unused = |since: Instant| now.saturating_duration_since(since) >= REKEY_TIMEOUT;
        if self.hold && !self.staged.is_empty() && self.answered.is_some_and(unused) {
            self.hold = false;
            self.initiate(now, true, out);
        }
        self.hurry(now, out);
        Life::Active
    }

    fn hurry(&mut self, now: Instant, out: &mut Vec<BytesMut>) {
        if self.asking.is_due(now) {
            self.initiate(now, true, out);
        }
    }

    fn push_timed(&mut self, message: WgKind, now: Instant, out: &mut Vec<BytesMut>) {
        if matches!(message, WgKind::HandshakeInit(_)) {
            self.initiated = Some(now);
        }
        out.push(bytes_of(message));
    }

    /// Drop all sessions and what waits; the next packet starts a handshake.
    /// What the peer's last timestamp was, and our own clock, are kept: both must only grow.
    pub fn reset(&mut self) {
        self.tunn.reset();
        self.forget();
    }

    /// The peer restarted: its sessions are gone, so nothing more is sealed for them. If there was one, or something
    /// waits, a handshake begins at once and is repeated soon while nobody answers; what waits is kept for it.
    pub fn restart(&mut self, now: Instant, out: &mut Vec<BytesMut>) {
        self.told = now;
        let had_session =
            self.unconfirmed.is_some() || self.tunn.time_since_last_handshake().is_some();
        let wanted = had_session || self.initiated.is_some() || !self.staged.is_empty();
        let staged = std::mem::take(&mut self.staged);
        self.reset();
        self.staged = staged;
        if wanted {
            self.initiate(now, true, out);
        }
    }

    fn forget(&mut self) {
        self.staged.clear();
        self.initiated = None;
        self.asking.answered();
        self.doubt.answered();
        self.unheard = true;
        self.unconfirmed = None;
        self.hold = false;
    }

    /// Whether data can be sent without a handshake.
    pub fn has_keypair(&self) -> bool {
        !self.hold && self.tunn.time_since_last_handshake().is_some()
    }

    fn initiate(&mut self, now: Instant, again: bool, out: &mut Vec<BytesMut>) {
        if let Some(message) = self.tunn.format_handshake_initiation(again) {
            self.initiated = Some(now);
            if !self.has_keypair() {
                self.asking.asked(now);
            }
            out.push(bytes_of(message.into()));
        }
    }

    fn tell_time(&mut self, now: Instant, out: &mut Vec<BytesMut>) {
        if now.saturating_duration_since(self.told) > TIME_GRAIN {
            self.tick(now, out);
        }
    }
}

fn kind_of(error: &WireGuardError) -> TunnelError {
    match error {
        WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter => TunnelError::Replay,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => TunnelError::NoKeypair,
        WireGuardError::WrongTai64nTimestamp => TunnelError::Repeat,
        _ => TunnelError::Forged,
    }
}
