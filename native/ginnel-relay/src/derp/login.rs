//! The login: the client proves its key, the relay answers.

use ginnel_derp::{ClientInfo, DerpError, Inbox, Key, PROTOCOL_VERSION, ServerInfo};
use ginnel_derp::{login_rule, open_client_info, put_server_info};

use super::client::Role;
use crate::relay::Shared;
use crate::stream::Stream;

/// A client that has proved its key.
pub(crate) struct Newcomer {
    pub(crate) key: Key,
    pub(crate) role: Role,
    /// What it showed to be a relay of the region.
    pub(crate) mesh_key: Option<Key>,
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
    #[error("not with this mesh key")]
    WrongMeshKey,
    #[error("on its way out")]
    Draining,
}

/// Read ClientInfo. The caller sets the time limit. `ideal`: the client wanted this relay and no other.
pub(crate) async fn log_in(
    shared: &Shared,
    stream: &mut Stream,
    ideal: bool,
) -> Result<Newcomer, LoginError> {
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
    let role = role(shared, &key, &info, ideal)?;
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
        role,
        mesh_key: info.mesh_key,
        answer,
        early: inbox.pending().to_vec(),
    })
}

fn role(shared: &Shared, key: &Key, info: &ClientInfo, ideal: bool) -> Result<Role, LoginError> {
    match &info.mesh_key {
        Some(claimed) if shared.mesh.admits(claimed) => return Ok(Role::Mesh),
        Some(_) => {
            // Official relays take it for a client; but then it would only be closed at its first frame.
            shared.counters.mesh_wrong_key.one();
            return Err(LoginError::WrongMeshKey);
        }
        None => {}
    }
    if shared.notices.is_draining() {
        shared.counters.login_draining.one();
        return Err(LoginError::Draining);
    }
    if !shared.registry.is_member(key) {
        shared.counters.not_member.one();
        return Err(LoginError::NotMember);
    }
    Ok(Role::Node {
        flags: presence_flags(info.is_prober, ideal),
    })
}

/// tailscale: derp/derp.go, PeerPresentFlags.
fn presence_flags(prober: bool, ideal: bool) -> u8 {
    match (prober, ideal) {
        (false, true) => 1,
        (prober, ideal) => u8::from(prober) << 2 | u8::from(!ideal) << 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_the_reference_s() {
        let table = [(false, true), (true, true), (false, false), (true, false)];
        assert_eq!(
            table.map(|(prober, ideal)| presence_flags(prober, ideal)),
            [1, 4, 8, 12]
        );
    }
}
