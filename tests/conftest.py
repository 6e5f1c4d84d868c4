"""What all tests share: how Hypothesis behaves, and nothing else.

A failing example is printed with a blob that reproduces it; no example is remembered between
runs, so that a run depends on the code alone.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    deadline=None,
    print_blob=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")
