"""The one door to Rust: nobody else imports the extension, and only shells import this.

Room: shell. What the extension promises stands in `_native.pyi`.
"""

from ginnel._native import Pump, Relay

__all__ = ["Pump", "Relay"]
