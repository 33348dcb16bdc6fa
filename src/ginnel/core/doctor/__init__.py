"""Why a machine or a pair of machines is not well connected: evidence in, ranked causes out (docs/doctor.md)."""
