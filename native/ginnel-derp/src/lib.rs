//! DERP frames and the login boxes, shared by relay and node (tailscale: derp/derp.go, derp/derp_client.go,
//! derp/derpserver/derpserver.go). Bytes become frames and back: no socket, clock, randomness or log comes in.
//!
//! ```text
//! client                                   relay
//!   | -- HTTP head, Upgrade: DERP --------> |
//!   | <------- 101 (not in fast start) ---- |
//!   | <------- ServerKey ------------------ |
//!   | -- ClientInfo, sealed to that key --> |  in fast start at once: the key stood in the certificate
//!   | <------- ServerInfo, sealed --------- |
//!   | -- SendPacket ----------------------> |
//!   | <------- RecvPacket, Ping, PeerGone - |
//! ```

mod certificate;
mod client;
mod error;
mod event;
mod frame;
mod inbox;
mod login;
mod parse;
mod server;

pub use certificate::server_key_in_certificate;
pub use client::{Client, Config};
pub use error::DerpError;
pub use event::Event;
pub use frame::{Frame, forward_header, is_disco, kind, packet_header, put_header, put_packet};
pub use inbox::{Inbox, RawFrame, Rule};
pub use login::{ClientInfo, Secret, ServerInfo};
pub use server::{
    login_rule, open_client_info, put_server_info, put_server_key, server_rule, upgrade_response,
};

/// 32 bytes of X25519 public key.
pub type Key = [u8; 32];

/// Bytes of a frame's header: type u8, length u32be without the header.
pub const HEADER_SIZE: usize = 5;
/// The longest packet a relay carries.
pub const MAX_PACKET_SIZE: usize = 64 << 10;
/// The longest frame a client takes.
pub const MAX_FRAME_SIZE: usize = 1 << 20;
/// Nonce of a sealed box.
pub const NONCE_SIZE: usize = 24;
/// The only version there is; also the serial number of the `derpkey` certificate.
pub const PROTOCOL_VERSION: u32 = 2;
/// The longest ClientInfo JSON we open: nobody has proved anything yet, and real ones have 60 to 150 bytes.
pub const MAX_CLIENT_INFO_SIZE: usize = 4 << 10;
