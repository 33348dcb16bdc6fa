//! STUN: which address a packet came from. One thread, many packets for each system call, and no state that grows with the clients.

mod answer;
mod batch;
mod server;
mod share;

pub(crate) use server::StunServer;
