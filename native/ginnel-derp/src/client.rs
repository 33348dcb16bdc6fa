//! A node's side of one connection: bytes in, events and bytes to send out.

use crate::event::next_open_event;
use crate::login::{ClientInfo, Secret, ServerInfo};
use crate::{
    DerpError, Event, Frame, Inbox, Key, MAX_FRAME_SIZE, NONCE_SIZE, RawFrame, Rule, kind,
    put_header,
};

const MAX_HEAD_SIZE: usize = 8 << 10;
const READ_SIZE: usize = 64 << 10;

/// What a connection starts from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node key's private half.
    pub secret: Secret,
    /// 24 bytes of entropy, never used before.
    pub nonce: [u8; NONCE_SIZE],
    /// The relay's host name for the `Host` header, with `:port` unless that is 443.
    pub host: String,
    /// The region's first node, when this is another one; the relay only counts it.
    pub ideal_node: Option<String>,
    /// The relay's key if its certificate holds one and TLS is 1.3: the login goes out without waiting.
    pub fast_start: Option<Key>,
    /// What to say of ourselves.
    pub info: ClientInfo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    ServerKey,
    ServerInfo,
    Open,
}

/// One connection to a relay, from the first byte inside TLS on.
///
/// ```text
/// loop { read into space(); filled(n); while let Some(event) = next_event(&mut out)? { ... }; write out }
/// ```
#[derive(Debug)]
pub struct Client {
    config: Config,
    server: Key,
    stage: Stage,
    inbox: Inbox,
    malformed: u64,
}

impl Client {
    /// Append the first flight to `out`.
    pub fn start(config: Config, out: &mut Vec<u8>) -> Self {
        put_request(out, &config);
        let mut client = Self {
            server: config.fast_start.unwrap_or_default(),
            stage: Stage::Head,
            inbox: Inbox::new(client_rule, READ_SIZE),
            malformed: 0,
            config,
        };
        if client.config.fast_start.is_some() {
            client.put_client_info(out);
            client.stage = Stage::ServerKey;
        }
        client
    }

    /// Room to read into.
    pub fn space(&mut self) -> &mut [u8] {
        self.inbox.space()
    }

    /// `size` bytes of `space` hold new data.
    pub fn filled(&mut self, size: usize) {
        self.inbox.filled(size);
    }

    /// The next thing to know, or None until more bytes come; answers are appended to `out`. Malformed frames are
    /// counted and skipped once the login is through (official relays of other versions may send longer or newer
    /// ones); an error is for the whole connection.
    pub fn next_event(&mut self, out: &mut Vec<u8>) -> Result<Option<Event<'_>>, DerpError> {
        if self.stage == Stage::Head && !self.read_head()? {
            return Ok(None);
        }
        while self.stage != Stage::Open {
            let Some(frame) = self.inbox.next_frame()? else {
                return Ok(None);
            };
            match (self.stage, frame.kind) {
                (Stage::ServerKey, _) => {
                    let server = server_key(frame, self.config.fast_start)?;
                    self.server = server;
                    self.stage = Stage::ServerInfo;
                    if self.config.fast_start.is_none() {
                        self.put_client_info(out);
                    }
                }
                (_, kind::SERVER_INFO) => {
                    let info = ServerInfo::open(&self.config.secret, &self.server, frame.body)?;
                    self.stage = Stage::Open;
                    return Ok(Some(Event::Ready {
                        server: self.server,
                        info,
                    }));
                }
                (_, got) => {
                    return Err(DerpError::OutOfOrder {
                        expected: "ServerInfo",
                        got,
                    });
                }
            }
        }
        let Self {
            inbox, malformed, ..
        } = self;
        next_open_event(inbox, malformed, out)
    }

    /// True after `Event::Ready`.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Frames that were skipped: unknown types and malformed ones.
    pub fn skipped(&self) -> u64 {
        self.inbox.skipped() + self.malformed
    }

    fn read_head(&mut self) -> Result<bool, DerpError> {
        let pending = self.inbox.pending();
        let Some(end) = pending.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if pending.len() > MAX_HEAD_SIZE {
                Err(DerpError::NotHttp)
            } else {
                Ok(false)
            };
        };
        match status(pending)? {
            101 => self.inbox.consume(end + 4),
            other => return Err(DerpError::Refused(other)),
        }
        self.stage = Stage::ServerKey;
        Ok(true)
    }

    fn put_client_info(&self, out: &mut Vec<u8>) {
        let Config {
            secret,
            nonce,
            info,
            ..
        } = &self.config;
        let json = info.to_json();
        put_header(
            out,
            kind::CLIENT_INFO,
            (32 + NONCE_SIZE + 16 + json.len()) as u32,
        );
        out.extend_from_slice(&secret.public());
        secret.seal(&self.server, nonce, &json, out);
    }
}

/// A client takes frames up to 1 MiB; what it doesn't know passes by.
fn client_rule(kind: u8) -> Rule {
    let known = matches!(kind, kind::SERVER_KEY..=kind::FORWARD_PACKET | kind::WATCH_CONNS..=kind::RESTARTING);
    Rule {
        limit: MAX_FRAME_SIZE as u32,
        keep: known,
    }
}

fn put_request(out: &mut Vec<u8>, config: &Config) {
    let mut head = format!(
        "GET /derp HTTP/1.1\r\nHost: {}\r\nUser-Agent: ginnel\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n",
        visible(&config.host)
    );
    if config.fast_start.is_some() {
        head += "Derp-Fast-Start: 1\r\n";
    }
    if let Some(node) = &config.ideal_node {
        head += &format!("Ideal-Node: {}\r\n", visible(node));
    }
    head += "\r\n";
    out.extend_from_slice(head.as_bytes());
}

/// A name from a map must not be able to add a header of its own.
fn visible(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).collect()
}

fn status(head: &[u8]) -> Result<u16, DerpError> {
    let digits = head
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .ok_or(DerpError::NotHttp)?;
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(DerpError::NotHttp)
}

fn server_key(frame: RawFrame<'_>, promised: Option<Key>) -> Result<Key, DerpError> {
    let Frame::ServerKey(key) = Frame::decode(frame.kind, frame.body)? else {
        return Err(DerpError::OutOfOrder {
            expected: "ServerKey",
            got: frame.kind,
        });
    };
    match promised {
        Some(promised) if promised != *key => Err(DerpError::WrongServerKey),
        _ => Ok(*key),
    }
}
