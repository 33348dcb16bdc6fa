//! A login's task: it reads, and wakes for a full socket, for silence and for the end.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ginnel_derp::Frame;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Role};
use super::login::Newcomer;
use super::notes::tell;
use super::pace::Pace;
use super::reader::{End, Reader};
use super::registry::Correspondents;
use super::watch::Watch;
use super::{Scratch, with_scratch};
use crate::admission::Permit;
use crate::door::Ends;
use crate::relay::Shared;
use crate::stream::Stream;

/// tailscale: derp/derpserver/derpserver.go, the write deadline of mesh peers.
const MESH_WRITE: Duration = Duration::from_secs(30);

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
        newcomer.role,
        write,
        tls,
    ));
    let enter = || match (newcomer.role, &newcomer.mesh_key) {
        (Role::Node { .. }, _) => shared.registry.insert(&client),
        (Role::Mesh, claimed) => claimed.is_some_and(|key| shared.mesh.enter(&client, &key)),
    };
    if !with_scratch(|scratch| client.welcome(&newcomer.answer, enter, &mut scratch.wire)) {
        return shared.counters.not_member.one();
    }
    let mut login = Login::new(shared.clone(), client.clone(), |shared, client| {
        Reader::new(shared, client, read, incoming)
    });
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

impl Login {
    fn new(
        shared: Arc<Shared>,
        client: Arc<Client>,
        reader: impl FnOnce(Arc<Shared>, Arc<Client>) -> Reader,
    ) -> Self {
        let counters = &shared.counters;
        match client.role {
            Role::Mesh => {
                counters.mesh_login.one();
                counters.mesh_peers.up();
            }
            Role::Node { .. } => {
                counters.login.one();
                counters.clients.up();
                if client.duplicate.load(Ordering::Relaxed) {
                    counters.duplicate.one();
                }
                shared.notices.greet(&shared, &client);
            }
        }
        Self {
            reader: reader(shared.clone(), client.clone()),
            shared,
            client,
        }
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let (shared, client) = (&self.shared, &self.client);
        if client.role == Role::Mesh {
            leave_mesh(shared, client, self.reader.watch.take());
        } else {
            let correspondents = std::mem::take(&mut self.reader.correspondents);
            leave(shared, client, correspondents);
        }
    }
}

/// How long the socket may take nothing. Another relay has more to take, and all its clients suffer if it is closed.
fn patience(shared: &Shared, client: &Client) -> Duration {
    match client.role {
        Role::Node { .. } => shared.limits.write,
        Role::Mesh => MESH_WRITE.max(shared.limits.write),
    }
}

async fn carry(shared: &Shared, client: &Client, reader: &mut Reader) -> End {
    let patience = patience(shared, client);
    let mut pace = Pace::new(&shared.rates, Instant::now());
    let mut keep_alive = next_keep_alive(shared);
    let timer = sleep_until(keep_alive);
    tokio::pin!(timer);
    loop {
        if let Some(watch) = &reader.watch
            && with_scratch(|scratch| watch.tell(shared, scratch))
        {
            client.changed.notify_one();
        }
        let stuck = client
            .stuck_since()
            .map(|since| Instant::from_std(since) + patience);
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
                    Ok(_) if client.role == Role::Mesh => {}
                    Ok(size) => pace.spend(&shared.rates, size, Instant::now()),
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
                if client.stuck_since().is_some_and(|since| Instant::from_std(since) + patience <= now) {
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

/// Those who had packets from this key learn that it is gone from the region, and nobody else does.
fn leave(shared: &Shared, client: &Client, correspondents: Correspondents) {
    shared.counters.clients.down();
    if client.home.load(Ordering::Relaxed) {
        shared.counters.homes.down();
    }
    let left = shared.registry.remove(client, correspondents);
    with_scratch(|scratch| client.bury(&mut scratch.wire, &shared.counters));
    if let Some(released) = left.released {
        let health = shared.notices.health();
        with_scratch(|scratch| {
            tell(
                &released,
                &Frame::Health(&health),
                &mut scratch.wire,
                shared,
            );
        });
    }
    if let Some(correspondents) = left.last {
        shared.mesh.left_here(shared, &client.key, correspondents);
    }
}

fn leave_mesh(shared: &Shared, client: &Client, watch: Option<Arc<Watch>>) {
    shared.counters.mesh_peers.down();
    shared.mesh.leave(client);
    if let Some(watch) = watch {
        shared.registry.unwatch(&watch);
        shared.counters.watchers.down();
        if watch.overflowed() {
            shared.counters.mesh_watch_overflow.one();
        }
    }
    with_scratch(|scratch| client.bury(&mut scratch.wire, &shared.counters));
}
