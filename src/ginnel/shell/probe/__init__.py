"""One connection, step by step: how `firewall verify`, the doctor, `debug derp` and the fleet try hosts."""
