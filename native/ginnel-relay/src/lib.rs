//! The front door: TLS, DERP, STUN, port 80, and the splice to the server behind it.
//!
//! ```text
//!  :443 --TLS--> head of the request --+-- DERP, websocket ---> a shard's task, packets by the registry
//!                                      +-- /generate_204 ... -> answered here
//!  :80  --------> head of the request -+-- anything else -----> PROXY v2 + the same bytes, to a unix socket
//!  :3478/udp ---> one thread, recvmmsg and sendmmsg
//! ```
//!
//! Connections are dealt to shards: threads with one runtime each. Who reads a batch of frames also seals and writes
//! it to the receivers, so a packet passes no channel and wakes nobody; a receiver's own task runs only when its
//! socket is full.

mod admission;
mod bootstrap_dns;
mod certificates;
mod config;
mod counters;
mod derp;
mod door;
mod front;
mod http;
mod inherited;
mod listen;
mod mesh;
mod notices;
mod place;
mod proxy;
mod rates;
mod relay;
mod shards;
mod splice;
mod stream;
mod stun;
mod tls;
mod verify;
mod wake;
mod websocket;

pub use ginnel_tls::Verify;

pub use config::{Config, Limits, Rate, RelayError};
pub use mesh::{MeshKey, MeshPeer, MeshRow};
pub use relay::{ClientRow, Relay};
pub use verify::Question;
