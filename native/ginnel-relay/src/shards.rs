//! Threads with one runtime each, and how connections are dealt to them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use crate::config::RelayError;
use crate::door::{self, Ends};
use crate::relay::Shared;

/// tailscale: cmd/derper/derper.go.
const KEEP_ALIVE: Duration = Duration::from_secs(600);
const USER_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Door {
    Tls,
    Http,
}

/// The threads, and one of their runtimes.
pub(crate) fn start_shards(
    shared: &Arc<Shared>,
    threads: usize,
    doors: Vec<(Door, TcpListener)>,
    stopped: &watch::Receiver<bool>,
) -> Result<(Vec<JoinHandle<()>>, Handle), RelayError> {
    let runtimes: Vec<Runtime> = (0..threads)
        .map(|_| Builder::new_current_thread().enable_all().build())
        .collect::<io::Result<_>>()?;
    let handles: Arc<[Handle]> = runtimes
        .iter()
        .map(|runtime| runtime.handle().clone())
        .collect();
    for (door, listener) in doors {
        let _entered = handles[0].enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        handles[0].spawn(accept(shared.clone(), door, listener, handles.clone()));
    }
    let start = |(number, runtime): (usize, Runtime)| {
        let mut stopped = stopped.clone();
        std::thread::Builder::new()
            .name(format!("relay-{number}"))
            .spawn(move || {
                let _ = runtime.block_on(stopped.wait_for(|&stop| stop));
                runtime.shutdown_background();
            })
    };
    let threads = runtimes.into_iter().enumerate().map(start);
    Ok((threads.collect::<io::Result<_>>()?, handles[0].clone()))
}

/// Deal connections to the shards in turn.
async fn accept(
    shared: Arc<Shared>,
    door: Door,
    listener: tokio::net::TcpListener,
    shards: Arc<[Handle]>,
) {
    let mut unheard = shared.unheard.subscribe();
    for shard in shards.iter().cycle() {
        let accepted = tokio::select! {
            biased;
            _ = unheard.wait_for(|&unheard| unheard) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, source)) => deal(&shared, door, tcp, source, shard),
            Err(_) => {
                // No descriptors left, most likely: trying again at once would only burn the processor.
                shared.counters.accept_failed.one();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn deal(shared: &Arc<Shared>, door: Door, tcp: TcpStream, source: SocketAddr, shard: &Handle) {
    shared.counters.accepted.one();
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    let Some(permit) = shared.admission.admit(source.ip()) else {
        return shared.counters.over_limit.one();
    };
    let Ok((tcp, local)) = prepare(tcp) else {
        return shared.counters.accept_failed.one();
    };
    let (shared, ends) = (shared.clone(), Ends { source, local });
    shard.spawn(async move {
        let Ok(tcp) = TcpStream::from_std(tcp) else {
            return;
        };
        match door {
            Door::Tls => door::serve_tls(shared, tcp, ends, permit).await,
            Door::Http => door::serve_http(shared, tcp, ends, permit).await,
        }
    });
}

fn prepare(tcp: TcpStream) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let local = tcp.local_addr()?;
    let tcp = tcp.into_std()?;
    let socket = SockRef::from(&tcp);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok((
        tcp,
        SocketAddr::new(local.ip().to_canonical(), local.port()),
    ))
}
