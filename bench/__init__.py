"""Measured comparisons: `python -m bench NAME... [--json]`."""
