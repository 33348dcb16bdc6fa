"""The names of the relays: a DNS zone made of the DERP map, served, exported or written into another server."""
