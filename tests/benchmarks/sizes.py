"""How much each row does. The full sizes fit into a quarter of an hour on two cores."""

from __future__ import annotations

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """Counts of one run; every timed part of the full one lasts some tenths of a second or more,
    so that the scheduler's slices and a late fsync do not decide."""

    quick: bool = False
    rounds: int = 5
    callers: int = 64
    appends_a_caller: int = 200
    raw_commits: int = 3_000
    bulk_appends: int = 20
    bulk_events: int = 1_000
    single_appends: int = 2_000
    stream_events: int = 10_000
    loads: int = 5
    log_events: int = 1_000_000
    log_streams: int = 1_000
    log_callers: int = 2_000
    short_stream: int = 1_000
    long_stream: int = 100_000
    small_log: int = 1_000
    wakeups: int = 200
    foreign_wakeups: int = 50
    idle_seconds: float = 2.0
    neighbour_appends_a_caller: int = 40
    neighbour_events: int = 100_000
    fsyncs: int = 500
    pg_raw_a_client: int = 150
    pg_appends_of_ten: int = 40
    pg_single_appends: int = 1_000
    fold_events: int = 100_000
    offered_per_second: int = 1_000
    offered_events: int = 5_000
    offered_streams: int = 500
    remembered_a_caller: int = 25
    vector_rows: int = 100_000
    searches: int = 200
    state_leaves: int = 10_000


FULL = Sizes()

QUICK = Sizes(
    quick=True,
    rounds=1,
    callers=8,
    appends_a_caller=5,
    raw_commits=40,
    bulk_appends=2,
    bulk_events=50,
    single_appends=40,
    stream_events=300,
    loads=1,
    log_events=3_000,
    log_streams=30,
    log_callers=100,
    short_stream=100,
    long_stream=1_500,
    small_log=100,
    wakeups=10,
    foreign_wakeups=5,
    idle_seconds=0.1,
    neighbour_appends_a_caller=5,
    neighbour_events=500,
    fsyncs=20,
    pg_raw_a_client=5,
    pg_appends_of_ten=2,
    pg_single_appends=30,
    fold_events=2_000,
    offered_events=300,
    offered_streams=20,
    remembered_a_caller=3,
    vector_rows=300,
    searches=10,
    state_leaves=400,
)
"""For a smoke test: every row runs, and no figure means anything."""
