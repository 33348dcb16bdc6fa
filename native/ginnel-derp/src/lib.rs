//! DERP frames and the login boxes, shared by relay and node; no I/O
