//! TLS without sockets: bytes from the wire in, plaintext and bytes for the wire out. rustls' unbuffered form is used
//! because its buffered one reads 4 KiB at a time and keeps buffers of its own for each idle connection.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use crate::websocket::{Websocket, messages};

/// Largest expansion of a record: header, content type, tag; TLS 1.2 adds a nonce.
const RECORD_OVERHEAD: usize = 5 + 1 + 16 + 8;
const RECORD_SIZE: usize = 16 << 10;

/// More than one record that is not yet whole can only be a handshake message in pieces, which nobody needs here.
pub(crate) const MAX_LEFT_OVER: usize = 20 << 10;

/// What `receive` left, for the next time.
pub(crate) fn left_over(rest: &[u8]) -> std::io::Result<Vec<u8>> {
    if rest.len() > MAX_LEFT_OVER {
        return Err(std::io::Error::other("a TLS message that is too long"));
    }
    Ok(rest.to_vec())
}

/// A buffer for the wire whose length only grows, so that it is not zeroed for each use.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    bytes: Vec<u8>,
    used: usize,
}

impl Wire {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    fn room(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() - self.used < size {
            self.bytes.resize(self.used + size, 0);
        }
        &mut self.bytes[self.used..]
    }
}

/// What a turn of `receive` came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of the input that are done with.
    pub(crate) used: usize,
    /// The handshake is over.
    pub(crate) open: bool,
    /// The peer said it will send no more.
    pub(crate) closed: bool,
}

/// rustls remembers where in the caller's bytes a handshake message began whose end has not come. Whoever then calls it
/// with other bytes, as writing does with none, makes it panic. So messages in pieces, which no client has a reason to
/// send once the handshake is over, end the connection, and after an error rustls is not called again.
pub(crate) struct Tls {
    /// Boxed: it has a kilobyte and is handed through several tasks.
    connection: Box<UnbufferedServerConnection>,
    /// What is inside are websocket messages.
    websocket: Option<Box<Websocket>>,
    failed: bool,
}

impl Tls {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        UnbufferedServerConnection::new(config).map(|connection| Self {
            connection: Box::new(connection),
            websocket: None,
            failed: false,
        })
    }

    /// The protocol that was agreed on.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// From here on the plaintext is what websocket messages carry. `early`: what has come of them already.
    pub(crate) fn speak_websocket(
        &mut self,
        early: &mut Vec<u8>,
        out: &mut Wire,
    ) -> std::io::Result<()> {
        self.websocket = Some(Box::default());
        let closed = self
            .unwrap_messages(early, 0, out)
            .map_err(std::io::Error::other)?;
        match closed {
            true => Err(std::io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    /// "TLSv1.2" or "TLSv1.3".
    pub(crate) fn version(&self) -> &'static str {
        match self.connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        }
    }

    /// Take what came, append plaintext to `plain` and answers to `out`. What is left of `incoming` has to come
    /// again with more behind it. After an error `out` holds the alert.
    pub(crate) fn receive(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Wire,
    ) -> Result<Progress, rustls::Error> {
        let mut progress = Progress::default();
        let known = plain.len();
        let result = self.take(incoming, plain, out, &mut progress);
        let rest = incoming.get(progress.used..).unwrap_or_default();
        if result.is_err() {
            self.alert(&mut rest.to_vec(), out);
        } else if progress.open && !progress.closed && holds_record(rest) {
            self.failed = true;
            return Err(rustls::Error::General("a TLS message in pieces".into()));
        }
        self.failed |= result.is_err();
        result?;
        if self.websocket.is_some() {
            progress.closed |= self.unwrap_messages(plain, known, out)?;
        }
        Ok(progress)
    }

    /// Turn `plain[from..]` into what its websocket messages carry; true if they have come to their end.
    fn unwrap_messages(
        &mut self,
        plain: &mut Vec<u8>,
        from: usize,
        out: &mut Wire,
    ) -> Result<bool, rustls::Error> {
        let Some(websocket) = &mut self.websocket else {
            return Ok(false);
        };
        let mut answers = Vec::new();
        websocket
            .decode(plain, from, &mut answers)
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        let closed = websocket.is_closed();
        if !answers.is_empty() {
            self.encrypt(&answers, out)?;
        }
        Ok(closed)
    }

    fn take(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Wire,
        progress: &mut Progress,
    ) -> Result<(), rustls::Error> {
        if self.failed {
            return Err(rustls::Error::HandshakeNotComplete);
        }
        loop {
            let UnbufferedStatus {
                mut discard, state, ..
            } = self
                .connection
                .process_tls_records(&mut incoming[progress.used..]);
            let mut done = false;
            match state {
                Err(error) => {
                    progress.used += discard;
                    return Err(error);
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => progress.closed = true,
                Ok(ConnectionState::Closed) => (progress.closed, done) = (true, true),
                Ok(ConnectionState::WriteTraffic(_)) => (progress.open, done) = (true, true),
                Ok(_) => done = true,
            }
            progress.used += discard;
            if done {
                return Ok(());
            }
        }
    }

    /// Append `plain` as records to `out`.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Wire) -> Result<(), rustls::Error> {
        if self.websocket.is_none() {
            return self.encrypt(plain, out);
        }
        for message in messages(plain) {
            self.encrypt(&message, out)?;
        }
        Ok(())
    }

    fn encrypt(&mut self, plain: &[u8], out: &mut Wire) -> Result<(), rustls::Error> {
        let records = plain.len().div_ceil(RECORD_SIZE);
        let size = plain.len() + records * RECORD_OVERHEAD;
        self.write(out, size, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Append the goodbye to `out`.
    pub(crate) fn close(&mut self, out: &mut Wire) -> Result<(), rustls::Error> {
        if let Some(websocket) = &mut self.websocket {
            let goodbye = websocket.goodbye();
            if !goodbye.is_empty() {
                self.encrypt(&goodbye, out)?;
            }
        }
        self.write(out, 64, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write(
        &mut self,
        out: &mut Wire,
        size: usize,
        mut act: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), rustls::Error> {
        if self.failed {
            return Err(rustls::Error::HandshakeNotComplete);
        }
        loop {
            match self.connection.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    out.used += match act(&mut traffic, out.room(size)) {
                        Ok(size) => size,
                        Err(EncryptError::InsufficientSize(needed)) => {
                            act(&mut traffic, out.room(needed.required_size))
                                .map_err(|_| rustls::Error::EncryptError)?
                        }
                        Err(EncryptError::EncryptExhausted) => {
                            return Err(rustls::Error::EncryptError);
                        }
                    };
                    return Ok(());
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(rustls::Error::HandshakeNotComplete),
            }
        }
    }

    /// An error leaves at most one alert to be sent. `rest`: where rustls stopped.
    fn alert(&mut self, rest: &mut [u8], out: &mut Wire) {
        if self.failed {
            return;
        }
        if let Ok(ConnectionState::EncodeTlsData(mut data)) =
            self.connection.process_tls_records(rest).state
        {
            // Without room for an alert the connection still ends.
            let _ = encode(&mut data, out);
        }
    }
}

/// Whether the bytes begin with a whole record: one that rustls has taken in, and holds for the rest of its message.
fn holds_record(bytes: &[u8]) -> bool {
    bytes.first_chunk::<5>().is_some_and(|head| {
        bytes.len() - head.len() >= usize::from(u16::from_be_bytes([head[3], head[4]]))
    })
}

type Traffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;
type Encode<'c> = rustls::unbuffered::EncodeTlsData<'c, rustls::server::ServerConnectionData>;

fn encode(data: &mut Encode<'_>, out: &mut Wire) -> Result<(), rustls::Error> {
    let size = match data.encode(out.room(4 << 10)) {
        Ok(size) => size,
        Err(EncodeError::InsufficientSize(needed)) => data
            .encode(out.room(needed.required_size))
            .map_err(|_| rustls::Error::EncryptError)?,
        Err(EncodeError::AlreadyEncoded) => 0,
    };
    out.used += size;
    Ok(())
}
