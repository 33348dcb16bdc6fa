"""Measured comparisons with the real counterparts: `python -m bench NAME... [--json]`."""
