"""What all tests share: how hard the random ones try.

`make fuzz` raises the number of examples where a test does not set its own.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("ci", deadline=None)  # the machines are shared: time is not what these tests measure
settings.register_profile(
    "fuzz", deadline=None, max_examples=20_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
