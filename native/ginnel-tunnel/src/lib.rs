//! One peer's WireGuard: handshake, keypairs and timers as a machine that is given messages and gives messages.
//!
//! The cryptography is gotatun's (`noise::Tunn`). Around it stand the rules that a node which is reached by several
//! paths needs: staging with drop-oldest, no data on an unconfirmed keypair, load-dependent cookies across all sources,
//! a gap between initiations. No sockets and no threads. gotatun reads the clock itself; `now` here only says when it
//! was last asked, so that its coarse time never lags behind an idle peer.

mod identity;
mod low_order;
mod patience;
mod tunnel;

pub use identity::{Admission, Handshake, Identity, Refusal};
pub use low_order::is_low_order;
pub use tunnel::{Event, Life, MTU_PADDING, STAGED_MAX, Tunnel, TunnelError, pad};
