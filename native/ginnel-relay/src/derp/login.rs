//! The login: the client proves its key, the relay answers.

use ginnel_derp::{ClientInfo, DerpError, Inbox, Key, PROTOCOL_VERSION, ServerInfo};
use ginnel_derp::{login_rule, open_client_info, put_server_info};

use crate::relay::Shared;
use crate::stream::Stream;

/// A client that has proved its key.
pub(crate) struct Newcomer {
    pub(crate) key: Key,
    #[allow(
        dead_code,
        reason = "the mesh key in it admits other relays of the region"
    )]
    pub(crate) info: ClientInfo,
    /// The relay's answer, to be sent once the client stands in the registry.
    pub(crate) answer: Vec<u8>,
    /// What came behind the login.
    pub(crate) early: Vec<u8>,
}

/// Why a login failed; the client only sees the connection close.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error(transparent)]
    Stream(#[from] std::io::Error),
    #[error(transparent)]
    Rules(#[from] DerpError),
    #[error("not a member")]
    NotMember,
}

/// Read ClientInfo. The caller sets the time limit.
pub(crate) async fn log_in(shared: &Shared, stream: &mut Stream) -> Result<Newcomer, LoginError> {
    let mut inbox = Inbox::new(login_rule, 1);
    let (key, info) = loop {
        inbox.push(&stream.plain);
        stream.plain.clear();
        if let Some(frame) = inbox.next_frame()? {
            break open_client_info(&shared.secret, frame.kind, frame.body)?;
        }
        if !stream.read().await? {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    };
    if !shared.registry.is_member(&key) {
        shared.counters.not_member.one();
        return Err(LoginError::NotMember);
    }
    let mut nonce = [0; 24];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| std::io::Error::other("no randomness"))?;
    let mut answer = Vec::new();
    let ours = ServerInfo {
        version: PROTOCOL_VERSION,
        ..ServerInfo::default()
    };
    put_server_info(&mut answer, &shared.secret, &key, &nonce, ours);
    stream.plain = Vec::new();
    Ok(Newcomer {
        key,
        info,
        answer,
        early: inbox.pending().to_vec(),
    })
}
