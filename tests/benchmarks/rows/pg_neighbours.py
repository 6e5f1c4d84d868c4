"""PostgreSQL: the PyPI package eventsourcing with its recorder, where it and its driver install."""

from __future__ import annotations

from importlib.util import find_spec

from ..bench import Bench, stream_names
from ..measuring import Line, Section, Timing, in_turns, rates
from ..postgres import Postgres
from ..sizes import Sizes
from ..workload import Callers, plain_events
from .postgres import in_a_fresh_store

_NAME = "eventsourcing"
_CALLERS_MAX = 16
"""Threads of theirs, each with a connection: more of them only wait for its table's lock."""


async def pg_neighbours(bench: Bench) -> Section:
    """One event an append, from one caller and from sixteen; for comparison, without a bar."""
    if find_spec(_NAME) is None or find_spec("psycopg") is None:
        return Section("pg_neighbours", [], not_run="eventsourcing or psycopg is not installed")
    postgres, sizes = await bench.postgres(), bench.sizes
    callers = min(sizes.callers, _CALLERS_MAX)
    appends, few = sizes.neighbour_appends_a_caller, sizes.single_appends // 4
    many = Callers(stream_names(callers), appends, plain_events(callers * appends))
    one = Callers(["session/single"], few, plain_events(few))
    taken = await in_turns(
        sizes.rounds,
        {
            "their ones": lambda: _theirs(postgres, sizes, callers, "one_by_one"),
            "ones": lambda: in_a_fresh_store(postgres, one.run),
            "their many": lambda: _theirs(postgres, sizes, callers, "from_callers"),
            "many": lambda: in_a_fresh_store(postgres, many.run),
        },
    )
    lines = []
    for work, name, count in (
        ("1 caller, one by one", "ones", few),
        (f"{callers} callers, 1 event each", "many", callers * appends),
    ):
        ours, theirs = rates(taken[name], count), rates(taken[f"their {name}"], count)
        work = f"PostgreSQL: {work}"
        lines.append(Line(work, ours, "/s", theirs, _NAME, ours.over(theirs)))
    note = (
        "eventsourcing: its recorder for PostgreSQL over psycopg, an aggregate event of about 400"
        " bytes of JSON by `save`; a thread and a connection for each caller. Both on the server"
        " of the rows above, each sample in a database of its own."
    )
    return Section("pg_neighbours", lines, [note])


async def _theirs(postgres: Postgres, sizes: Sizes, callers: int, verb: str) -> Timing:
    from ..neighbours.event_sourcing import on_postgres

    url = postgres.new_url()
    side = on_postgres(url, sizes, callers)
    try:
        postgres.settle()
        taken: Timing = getattr(side, verb)()
    finally:
        side.close()
    postgres.drop(url)
    return taken
