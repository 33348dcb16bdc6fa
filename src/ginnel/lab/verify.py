"""`ginnel lab probe`: one kind of network on trial.

Room: lab.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import kind_named, network
from ginnel.lab.probe import probe
from ginnel.lab.report import Probed

HOST = "host"


def verify(words: str) -> Probed:
    """Build the kind, probe it, tear it down. LabError for an unknown kind or a machine that cannot have a lab."""
    kind = kind_named(words)
    started = time.monotonic()
    with Lab(network(**{HOST: words})) as lab:
        seen = probe(lab, HOST)
    differences = kind.traits.differences(seen)
    seconds = round(time.monotonic() - started, 3)
    return Probed(words, not differences, seconds, asdict(kind.traits), asdict(seen), differences)
