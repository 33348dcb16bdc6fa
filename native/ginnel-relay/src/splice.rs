//! Both directions between a client and the server behind, each with one bounded piece in flight: a side that doesn't
//! read stops the other from being read. A connection that is silent holds no buffer.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::READ_SIZE;
use crate::derp::with_scratch;
use crate::stream::{Stream, linger};
use crate::tls::{Tls, Wire, left_over};

/// Connect to the server behind and send it the preamble and the bytes that came already.
pub(crate) async fn connect(path: &Path, preamble: &[u8], early: &[u8]) -> io::Result<UnixStream> {
    let mut behind = UnixStream::connect(path).await?;
    behind.write_all(&[preamble, early].concat()).await?;
    Ok(behind)
}

/// What a front does with bytes: TLS, or nothing.
enum Front {
    Plain,
    Tls { tls: Tls, incoming: Vec<u8> },
}

struct Splice {
    front: Front,
    tcp: TcpStream,
    behind: UnixStream,
    to_behind: Piece,
    to_client: Piece,
    client_ended: bool,
    told_behind: bool,
    behind_ended: bool,
}

/// Bytes on their way; the memory goes when they have arrived.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    sent: usize,
}

impl Piece {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Write `bytes` at once, keep what doesn't go.
    fn start(
        &mut self,
        bytes: &[u8],
        write: impl Fn(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.sent = 0;
        let sent = write_some(bytes, write)?;
        self.bytes = bytes[sent..].to_vec();
        Ok(())
    }

    fn go_on(&mut self, write: impl Fn(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        self.sent += write_some(&self.bytes[self.sent..], write)?;
        if self.sent == self.bytes.len() {
            *self = Self::default();
        }
        Ok(())
    }
}

fn write_some(bytes: &[u8], write: impl Fn(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match write(&bytes[sent..]) {
            Ok(size) => sent += size,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}

/// Copy until both sides have ended. `patience`: how long the client may take to see the end.
pub(crate) async fn tls(stream: Stream, behind: UnixStream, patience: Duration) -> io::Result<()> {
    let Stream {
        tcp,
        tls,
        incoming,
        closed,
        ..
    } = stream;
    let mut splice = Splice::new(Front::Tls { tls, incoming }, tcp, behind);
    splice.client_ended = closed;
    splice.run(patience).await
}

/// The same for port 80.
pub(crate) async fn plain(
    tcp: TcpStream,
    behind: UnixStream,
    patience: Duration,
) -> io::Result<()> {
    Splice::new(Front::Plain, tcp, behind).run(patience).await
}

impl Splice {
    fn new(front: Front, tcp: TcpStream, behind: UnixStream) -> Self {
        let (to_behind, to_client) = <(Piece, Piece)>::default();
        Self {
            front,
            tcp,
            behind,
            to_behind,
            to_client,
            client_ended: false,
            told_behind: false,
            behind_ended: false,
        }
    }

    async fn run(mut self, patience: Duration) -> io::Result<()> {
        while !(self.behind_ended && self.to_client.is_empty()) {
            self.pass_on_the_end().await;
            tokio::select! {
                ready = self.tcp.readable(), if !self.client_ended && self.to_behind.is_empty() => {
                    ready?;
                    self.read_client()?;
                }
                ready = self.behind.readable(), if !self.behind_ended && self.to_client.is_empty() => {
                    ready?;
                    self.read_behind()?;
                }
                ready = self.behind.writable(), if !self.to_behind.is_empty() => {
                    let written = ready.and_then(|()| self.to_behind.go_on(|bytes| self.behind.try_write(bytes)));
                    self.note_behind(written);
                }
                ready = self.tcp.writable(), if !self.to_client.is_empty() => {
                    ready?;
                    self.to_client.go_on(|bytes| self.tcp.try_write(bytes))?;
                }
            }
        }
        timeout(patience, linger(&mut self.tcp)).await?
    }

    /// Once the client has ended and all it said has arrived, the server learns of it.
    async fn pass_on_the_end(&mut self) {
        if self.client_ended
            && self.to_behind.is_empty()
            && !std::mem::replace(&mut self.told_behind, true)
        {
            // An error says that it has gone, which reading tells as well.
            let _ = self.behind.shutdown().await;
        }
    }

    /// A server that takes no more may have answered all the same: what it has said still goes to the client.
    fn note_behind(&mut self, written: io::Result<()>) {
        if written.is_err() {
            self.to_behind = Piece::default();
            (self.client_ended, self.told_behind) = (true, true);
        }
    }

    fn read_client(&mut self) -> io::Result<()> {
        with_scratch(|scratch| {
            let Front::Tls { tls, incoming } = &mut self.front else {
                let Some(size) = ready(self.tcp.try_read(&mut scratch.read[..READ_SIZE]))? else {
                    return Ok(());
                };
                self.client_ended = size == 0;
                let written = self
                    .to_behind
                    .start(&scratch.read[..size], |bytes| self.behind.try_write(bytes));
                self.note_behind(written);
                return Ok(());
            };
            let kept = incoming.len();
            scratch.read[..kept].copy_from_slice(incoming);
            let room = &mut scratch.read[kept..kept + READ_SIZE];
            let Some(size) = ready(self.tcp.try_read(room))? else {
                return Ok(());
            };
            scratch.plain.clear();
            scratch.wire.clear();
            let bytes = &mut scratch.read[..kept + size];
            let progress = tls
                .receive(bytes, &mut scratch.plain, &mut scratch.wire)
                .map_err(io::Error::other)?;
            *incoming = left_over(&bytes[progress.used..])?;
            self.client_ended = size == 0 || progress.closed;
            if !scratch.wire.filled().is_empty() {
                self.answer_client(&scratch.wire)?;
            }
            let written = self
                .to_behind
                .start(&scratch.plain, |bytes| self.behind.try_write(bytes));
            self.note_behind(written);
            Ok(())
        })
    }

    /// TLS speaks for itself (a key update): behind what is under way.
    fn answer_client(&mut self, wire: &Wire) -> io::Result<()> {
        if self.to_client.is_empty() {
            return self
                .to_client
                .start(wire.filled(), |bytes| self.tcp.try_write(bytes));
        }
        if self.to_client.bytes.len() > 4 * READ_SIZE {
            return Err(io::Error::other(
                "the client makes TLS talk and doesn't listen",
            ));
        }
        self.to_client.bytes.extend_from_slice(wire.filled());
        Ok(())
    }

    fn read_behind(&mut self) -> io::Result<()> {
        with_scratch(|scratch| {
            let size = match ready(self.behind.try_read(&mut scratch.read[..READ_SIZE])) {
                Ok(None) => return Ok(()),
                Ok(Some(size)) => size,
                // It went with bytes of ours unread. All it said has been read before this comes.
                Err(_) => 0,
            };
            self.behind_ended = size == 0;
            let Front::Tls { tls, .. } = &mut self.front else {
                return self
                    .to_client
                    .start(&scratch.read[..size], |bytes| self.tcp.try_write(bytes));
            };
            scratch.wire.clear();
            match size {
                0 => tls.close(&mut scratch.wire),
                _ => tls.seal(&scratch.read[..size], &mut scratch.wire),
            }
            .map_err(io::Error::other)?;
            self.to_client
                .start(scratch.wire.filled(), |bytes| self.tcp.try_write(bytes))
        })
    }
}

/// None: not yet.
fn ready(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}
