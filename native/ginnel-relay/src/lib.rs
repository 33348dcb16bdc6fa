//! The front door: TLS, DERP, STUN, port 80, and the splice to the server behind it
