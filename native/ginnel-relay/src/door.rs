//! One connection from its first byte until it is known what it is for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ginnel_derp::{put_server_key, upgrade_response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::admission::Permit;
use crate::certificates::ACME_TLS;
use crate::derp;
use crate::http::{self, Head, Want, read_head};
use crate::relay::Shared;
use crate::stream::{Stream, linger};
use crate::{proxy, splice};

/// Who is connected to which of our addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) source: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// A connection of a TLS listener.
pub(crate) async fn serve_tls(shared: Arc<Shared>, tcp: TcpStream, ends: Ends, mut permit: Permit) {
    let config = shared.front.certificates.served();
    let opening = async {
        let mut stream = Stream::accept(tcp, config)
            .await
            .inspect_err(|_| shared.counters.handshake_failed.one())?;
        if stream.tls.alpn() == Some(ACME_TLS) {
            // The handshake was all that the authority wanted.
            shared.counters.acme_proof.one();
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let head = read_request(&mut stream).await?;
        io::Result::Ok((stream, head))
    };
    let Ok(opened) = timeout(shared.limits.handshake, opening).await else {
        return shared.counters.handshake_late.one();
    };
    let Ok((mut stream, head)) = opened else {
        return;
    };
    match head {
        Head::Whole {
            size,
            want: Want::Derp { fast_start, ideal },
        } => {
            stream.plain.drain(..size);
            let answer = (!fast_start).then(|| upgrade_response(&shared.public));
            let upgrade = (Upgrade::Plain(answer), ideal);
            serve_derp(shared, stream, upgrade, ends, permit).await;
        }
        Head::Whole {
            size,
            want: Want::Websocket { answer, ideal },
        } => {
            stream.plain.drain(..size);
            let upgrade = (Upgrade::Websocket(answer), ideal);
            serve_derp(shared, stream, upgrade, ends, permit).await;
        }
        Head::Whole {
            want: Want::Elsewhere { otherwise },
            ..
        } => {
            permit.settle();
            match &shared.splice {
                Some(_) => splice_tls(&shared, stream, ends).await,
                None => finish(&shared, stream, &otherwise).await,
            }
        }
        Head::Whole {
            want:
                Want::Answer(text)
                | Want::AcmeToken {
                    otherwise: text, ..
                },
            ..
        } => finish(&shared, stream, &text).await,
        Head::Whole {
            want: Want::BootstrapDns { asked, head_only },
            ..
        } => {
            let json = shared.bootstrap_dns.read().answer(asked.as_deref());
            let text = http::bootstrap_dns(&json, head_only);
            finish(&shared, stream, &text).await;
        }
        Head::Refused(text) => {
            shared.counters.bad_request.one();
            finish(&shared, stream, &text).await;
        }
        Head::Ambiguous(text) => {
            shared.counters.ambiguous_request.one();
            finish(&shared, stream, &text).await;
        }
        Head::Partial => {}
    }
}

/// A connection of a plain HTTP listener.
pub(crate) async fn serve_http(
    shared: Arc<Shared>,
    mut tcp: TcpStream,
    ends: Ends,
    mut permit: Permit,
) {
    let mut early = Vec::new();
    let reading = read_plain_request(&mut tcp, &mut early);
    let Ok(head) = timeout(shared.limits.handshake, reading).await else {
        return shared.counters.handshake_late.one();
    };
    permit.settle();
    let text = match (head, &shared.splice) {
        (
            Ok(Head::Whole {
                want: Want::Elsewhere { .. },
                ..
            }),
            Some(path),
        ) => {
            let behind = splice::connect(
                path,
                &proxy::preamble(ends.source, ends.local, None),
                &early,
            )
            .await;
            match behind {
                Ok(behind) => {
                    shared.counters.spliced.one();
                    drop(early);
                    let _ = splice::plain(tcp, behind, shared.limits.write).await;
                    return;
                }
                Err(_) => no_server(&shared),
            }
        }
        (
            Ok(Head::Whole {
                want: Want::Answer(text) | Want::Elsewhere { otherwise: text },
                ..
            }),
            _,
        ) => text,
        (
            Ok(Head::Whole {
                want: Want::AcmeToken { token, otherwise },
                ..
            }),
            _,
        ) => acme_proof(&shared, &token).unwrap_or(otherwise),
        (Ok(Head::Refused(text)), _) => {
            shared.counters.bad_request.one();
            text
        }
        (Ok(Head::Ambiguous(text)), _) => {
            shared.counters.ambiguous_request.one();
            text
        }
        _ => return,
    };
    shared.counters.answered.one();
    let answering = async {
        tcp.write_all(text.as_bytes()).await?;
        linger(&mut tcp).await
    };
    let _ = timeout(shared.limits.write, answering).await;
}

async fn read_request(stream: &mut Stream) -> io::Result<Head> {
    loop {
        let head = read_head(&stream.plain, true);
        if head != Head::Partial || stream.closed {
            return Ok(head);
        }
        stream.read().await?;
    }
}

async fn read_plain_request(tcp: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        tcp.readable().await?;
        bytes.reserve(4 << 10);
        match tcp.try_read_buf(bytes) {
            Ok(0) => return Ok(Head::Partial),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            other => other?,
        };
        let head = read_head(bytes, false);
        if head != Head::Partial {
            return Ok(head);
        }
    }
}

async fn finish(shared: &Shared, stream: Stream, text: &str) {
    shared.counters.answered.one();
    let _ = timeout(shared.limits.write, stream.finish(text.as_bytes())).await;
}

async fn splice_tls(shared: &Shared, mut stream: Stream, ends: Ends) {
    let Some(path) = &shared.splice else { return };
    let preamble = proxy::preamble(ends.source, ends.local, Some(stream.tls.version()));
    match splice::connect(path, &preamble, &stream.plain).await {
        Ok(behind) => {
            shared.counters.spliced.one();
            stream.plain = Vec::new();
            let _ = splice::tls(stream, behind, shared.limits.write).await;
        }
        Err(_) => finish(shared, stream, &no_server(shared)).await,
    }
}

fn no_server(shared: &Shared) -> String {
    shared.counters.splice_failed.one();
    http::answer(
        "503 Service Unavailable",
        "Retry-After: 5\r\n",
        "The server is not running.\n",
        false,
    )
}

/// What stands between TLS and DERP.
enum Upgrade {
    /// Nothing, behind this answer if the client waits for one.
    Plain(Option<String>),
    /// Messages, behind this answer.
    Websocket(String),
}

async fn serve_derp(
    shared: Arc<Shared>,
    mut stream: Stream,
    (upgrade, ideal): (Upgrade, bool),
    ends: Ends,
    mut permit: Permit,
) {
    let login = async {
        greet(&shared, &mut stream, upgrade).await?;
        derp::log_in(&shared, &mut stream, ideal).await
    };
    let newcomer = match timeout(shared.limits.handshake, login).await {
        Err(_) => return shared.counters.handshake_late.one(),
        Ok(Err(_)) => return shared.counters.login_failed.one(),
        Ok(Ok(newcomer)) => newcomer,
    };
    let asking = async {
        // Who has shown the region's own key is a relay of it: nobody else has a say.
        newcomer.mesh_key.is_some()
            || shared
                .front
                .verifier
                .admits(&newcomer.key, ends.source.ip())
                .await
    };
    match timeout(shared.limits.handshake, asking).await {
        Err(_) => shared.counters.verify_late.one(),
        Ok(false) => shared.counters.not_verified.one(),
        Ok(true) => {
            permit.settle();
            // A task of its own: this one's memory, which opening needed, is free while the login lasts.
            tokio::spawn(derp::serve(shared, stream, newcomer, ends, permit));
        }
    }
}

async fn greet(shared: &Shared, stream: &mut Stream, upgrade: Upgrade) -> io::Result<()> {
    let mut hello = Vec::new();
    match upgrade {
        Upgrade::Plain(Some(answer)) => hello.extend_from_slice(answer.as_bytes()),
        Upgrade::Plain(None) => shared.counters.fast_start.one(),
        Upgrade::Websocket(answer) => {
            shared.counters.websocket.one();
            stream.write_all(answer.as_bytes()).await?;
            stream.speak_websocket().await?;
        }
    }
    put_server_key(&mut hello, &shared.public);
    stream.write_all(&hello).await
}

/// What an authority is told about the token.
fn acme_proof(shared: &Shared, token: &str) -> Option<String> {
    let proof = shared.front.http_challenges.read().get(token).cloned()?;
    shared.counters.acme_proof.one();
    Some(http::answer("200 OK", "", &proof, false))
}
