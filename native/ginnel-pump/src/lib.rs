//! TUN, UDP and relays in batches; the peer, path and filter tables
