"""The relays' zone on real sockets: served on port 53, or written into another server."""
