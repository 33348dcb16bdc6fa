//! Headers as views: IP, UDP, TCP, ICMP, and the classes of one UDP datagram.
//!
//! Bytes become fields and nothing else: no I/O, no clock, no allocation. Any bytes give a view or an error.

pub mod datagram;
pub mod ip;
pub mod transport;
pub mod wireguard;
