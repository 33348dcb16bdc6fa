//! A TLS connection before it is known what it is for: handshake, head, short answers. Nothing here is fast.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tls::{Tls, Wire, left_over};

/// TLS bytes that may pile up before the handshake's next step; a ClientHello with certificates stays far below.
const MAX_PENDING: usize = 64 << 10;

pub(crate) struct Stream {
    pub(crate) tcp: TcpStream,
    pub(crate) tls: Tls,
    /// TLS bytes that are not yet a whole record.
    pub(crate) incoming: Vec<u8>,
    pub(crate) plain: Vec<u8>,
    open: bool,
    /// The client will say no more.
    pub(crate) closed: bool,
}

impl Stream {
    /// Shake hands. The caller sets the time limit.
    pub(crate) async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = Tls::new(config).map_err(io::Error::other)?;
        let mut stream = Self {
            tcp,
            tls,
            incoming: Vec::new(),
            plain: Vec::new(),
            open: false,
            closed: false,
        };
        while !stream.open {
            if !stream.read().await? && !stream.open {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(stream)
    }

    /// Append what comes next to `plain`; false at the end.
    pub(crate) async fn read(&mut self) -> io::Result<bool> {
        self.tcp.readable().await?;
        if self.incoming.len() >= MAX_PENDING {
            return Err(io::Error::other("too much before the next step"));
        }
        self.incoming.reserve(4 << 10);
        match self.tcp.try_read_buf(&mut self.incoming) {
            Ok(0) => {
                self.closed = true;
                return Ok(false);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            other => other?,
        };
        let mut out = Wire::default();
        let progress = self
            .tls
            .receive(&mut self.incoming, &mut self.plain, &mut out);
        self.tcp.write_all(out.filled()).await?;
        let progress = progress.map_err(io::Error::other)?;
        self.incoming = match progress.open {
            true => left_over(&self.incoming[progress.used..])?,
            false => self.incoming[progress.used..].to_vec(),
        };
        self.open |= progress.open;
        self.closed |= progress.closed;
        Ok(!progress.closed)
    }

    /// From here on DERP comes and goes in websocket messages.
    pub(crate) async fn speak_websocket(&mut self) -> io::Result<()> {
        let mut out = Wire::default();
        self.tls.speak_websocket(&mut self.plain, &mut out)?;
        self.tcp.write_all(out.filled()).await
    }

    pub(crate) async fn write_all(&mut self, plain: &[u8]) -> io::Result<()> {
        let mut out = Wire::default();
        self.tls.seal(plain, &mut out).map_err(io::Error::other)?;
        self.tcp.write_all(out.filled()).await
    }

    /// A last answer and the goodbye.
    pub(crate) async fn finish(mut self, plain: &[u8]) -> io::Result<()> {
        let mut out = Wire::default();
        self.tls.seal(plain, &mut out).map_err(io::Error::other)?;
        self.tls.close(&mut out).map_err(io::Error::other)?;
        self.tcp.write_all(out.filled()).await?;
        linger(&mut self.tcp).await
    }
}

/// Close after an answer. Bytes that were not read would make the kernel reset the connection, and the answer could be
/// lost: what still comes is read and dropped. The caller sets the time limit.
pub(crate) async fn linger(tcp: &mut TcpStream) -> io::Result<()> {
    tcp.shutdown().await?;
    let mut rest = vec![0; 16 << 10];
    while tcp.read(&mut rest).await? > 0 {}
    Ok(())
}
