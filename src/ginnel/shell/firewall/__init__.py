"""Facts from the live mesh, and the hands on this machine's firewall."""
