//! STUN: which address a packet came from. One thread, many packets for each system call, no state for any client.

mod answer;
mod batch;
mod server;

pub(crate) use server::StunServer;
