//! IP, UDP, TCP, WireGuard and STUN headers: bytes to fields, no I/O
