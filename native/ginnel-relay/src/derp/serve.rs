//! A login's task: it reads, and wakes for a full socket, for silence and for the end.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ginnel_derp::Frame;
use tokio::time::{Instant, sleep_until};

use super::client::Client;
use super::login::Newcomer;
use super::pace::Pace;
use super::reader::{End, Reader, tell};
use super::registry::Correspondents;
use super::{Scratch, with_scratch};
use crate::admission::Permit;
use crate::door::Ends;
use crate::relay::Shared;
use crate::stream::Stream;

const DISCONNECTED: u8 = 0;

/// Register the newcomer and carry its packets until it leaves.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: Stream,
    newcomer: Newcomer,
    ends: Ends,
    permit: Permit,
) {
    let Stream {
        tcp, tls, incoming, ..
    } = stream;
    let (read, write) = tcp.into_split();
    let client = Arc::new(Client::new(
        shared.registry.next_id(),
        newcomer.key,
        ends.source,
        write,
        tls,
    ));
    let enter = || shared.registry.insert(&client);
    if !with_scratch(|scratch| client.welcome(&newcomer.answer, enter, &mut scratch.wire)) {
        return shared.counters.not_member.one();
    }
    shared.counters.login.one();
    if client.duplicate.load(std::sync::atomic::Ordering::Relaxed) {
        shared.counters.duplicate.one();
    }
    let mut login = Login {
        reader: Reader::new(shared.clone(), client.clone(), read, incoming),
        shared,
        client,
    };
    let end = match with_scratch(|scratch| login.reader.begin(&newcomer.early, scratch)) {
        Ok(()) => {
            drop(newcomer);
            carry(&login.shared, &login.client, &mut login.reader).await
        }
        Err(end) => end,
    };
    count(&login.shared, &end);
    drop(login);
    drop(permit);
}

/// A client that stands in the registry. It leaves however its task ends: by itself, with the relay, or by a panic.
struct Login {
    reader: Reader,
    shared: Arc<Shared>,
    client: Arc<Client>,
}

impl Drop for Login {
    fn drop(&mut self) {
        let correspondents = std::mem::take(&mut self.reader.correspondents);
        leave(&self.shared, &self.client, correspondents);
    }
}

async fn carry(shared: &Shared, client: &Client, reader: &mut Reader) -> End {
    let mut pace = Pace::new(shared.limits.receive, Instant::now());
    let mut keep_alive = next_keep_alive(shared);
    let timer = sleep_until(keep_alive);
    tokio::pin!(timer);
    loop {
        let stuck = client
            .stuck_since()
            .map(|since| Instant::from_std(since) + shared.limits.write);
        let paused = pace.paused_until(Instant::now());
        let deadline = [stuck, paused]
            .into_iter()
            .flatten()
            .fold(keep_alive, Instant::min);
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        tokio::select! {
            turn = poll_fn(|cx| with_scratch(|scratch| reader.poll_turn(cx, scratch))), if paused.is_none() => {
                match turn {
                    Err(end) => return end,
                    Ok(size) => pace.spend(size, Instant::now()),
                }
                if reader.slice_is_over() {
                    tokio::task::yield_now().await;
                }
            }
            () = client.changed.notified() => {
                if client.is_closing() {
                    return End::Closed;
                }
            }
            ready = client.socket.writable(), if stuck.is_some() => {
                let went_on = |scratch: &mut Scratch| {
                    client.go_on(&mut scratch.plain, &mut scratch.wire, &shared.counters)
                };
                if ready.is_err() || with_scratch(went_on).is_err() {
                    return End::Stream;
                }
            }
            () = &mut timer => {
                let now = Instant::now();
                if client.stuck_since().is_some_and(|since| Instant::from_std(since) + shared.limits.write <= now) {
                    shared.counters.write_timeout.one();
                    return End::Stream;
                }
                if keep_alive <= now {
                    keep_alive = next_keep_alive(shared);
                    with_scratch(|scratch| tell(client, &Frame::KeepAlive, &mut scratch.wire, shared));
                }
            }
        }
    }
}

/// A random part keeps thousands of connections from speaking all at once.
fn next_keep_alive(shared: &Shared) -> Instant {
    let chance = RandomState::new().hash_one(0) % 1024;
    let jitter = shared.limits.keep_alive.as_secs_f64() / 12.0 * chance as f64 / 1024.0;
    Instant::now() + shared.limits.keep_alive + Duration::from_secs_f64(jitter)
}

fn count(shared: &Shared, end: &End) {
    match end {
        End::Rules(_) => shared.counters.bad_stream.one(),
        End::Refused => shared.counters.refused_frame.one(),
        End::Closed | End::Stream => {}
    }
}

/// Those who had packets from this key learn that it is gone, and nobody else does.
fn leave(shared: &Shared, client: &Client, correspondents: Correspondents) {
    let told = shared.registry.remove(client, correspondents);
    with_scratch(|scratch| {
        client.bury(&mut scratch.wire, &shared.counters);
        let gone = Frame::PeerGone {
            peer: &client.key,
            reason: DISCONNECTED,
        };
        for (peer, id) in told.unwrap_or_default() {
            if let Some(receiver) = shared.registry.connection(&peer, id) {
                tell(&receiver, &gone, &mut scratch.wire, shared);
            }
        }
    });
}
