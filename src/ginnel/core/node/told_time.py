"""What time it is by the coordination server, as its maps tell (tailscale: tailcfg.MapResponse.ControlTime).

Room: core. Between maps it is carried on by a clock that nobody sets and that goes on while the machine sleeps.
"""

from __future__ import annotations

from ginnel.words import WallTime


class ToldTime:
    def __init__(self) -> None:
        self._began: float | None = None

    def told(self, said: WallTime | None, running: float) -> None:
        """`running`: seconds of that clock. None, as most frames have no time: what was told before holds."""
        if said is not None:
            self._began = said - running

    def ahead(self, wall: WallTime, running: float) -> float | None:
        """Seconds by which this machine's clock is before the server's; None: no map has told."""
        return None if self._began is None else wall - (self._began + running)
