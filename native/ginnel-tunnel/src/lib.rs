//! WireGuard sessions of one peer: handshake and transport, sans-IO
