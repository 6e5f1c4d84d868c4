"""`make bench`: measures every row beside its raw limit and writes docs/benchmarks.md.

`python -m tests.benchmarks [--only ROW]... [--quick] [--output FILE]`. The page in docs is written
by a full run only; with `--only` or `--quick` a report is written where `--output` says. Ends with
1 when a row could not be run; a bar that is missed is told, and no error of the run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from .bench import Bench
from .machine import Machine, look_at_machine
from .measuring import Section
from .report import render, terminal
from .rows.appends import in_thousands, keyed_callers, many_callers, one_by_one
from .rows.growth import at_size, memory, on_disk
from .rows.importing import import_sessions
from .rows.neighbours import neighbours
from .rows.pg_neighbours import pg_neighbours
from .rows.postgres import pg_bulk, pg_callers, pg_processes, pg_read_all, pg_single
from .rows.reads import behind_snapshot, typed_load, whole_log
from .rows.subscriptions import wake_ups
from .rows.time_travel import bisecting, blaming, stepping
from .rows.views_building import catching_up, rebuilding
from .rows.views_live import beside_views, lags
from .rows.views_remember import remembering
from .rows.views_search import searching
from .sizes import FULL, QUICK, Sizes

ROWS: dict[str, Callable[[Bench], Awaitable[Section]]] = {
    "callers": many_callers,
    "keys": keyed_callers,
    "bulk": in_thousands,
    "single": one_by_one,
    "load": typed_load,
    "snapshot": behind_snapshot,
    "bisect": bisecting,
    "blame": blaming,
    "replay": stepping,
    "subscribe": wake_ups,
    "import": import_sessions,
    "neighbours": neighbours,
    # The large log: read and weighed before the last row appends to it.
    "read_all": whole_log,
    "disk": on_disk,
    "memory": memory,
    "growth": at_size,
    "views_append": beside_views,
    "views_lag": lags,
    "views_remember": remembering,
    "views_rebuild": rebuilding,
    "views_fold": catching_up,
    "vectors": searching,
    "pg_callers": pg_callers,
    "pg_processes": pg_processes,
    "pg_bulk": pg_bulk,
    "pg_single": pg_single,
    "pg_read_all": pg_read_all,
    "pg_neighbours": pg_neighbours,
}
_PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


async def run_rows(names: list[str], folder: Path, sizes: Sizes) -> list[Section]:
    """Runs the rows in their order; one that fails is told and does not stop the others."""
    bench = Bench(folder, sizes)
    try:
        return [await _run_row(bench, name) for name in names]
    finally:
        bench.close()


async def _run_row(bench: Bench, name: str) -> Section:
    started = time.monotonic()
    try:
        section = await ROWS[name](bench)
    except Exception as exc:
        traceback.print_exc()
        section = Section(name, [], not_run=f"the row failed with {type(exc).__name__}")
    print(f"{terminal(section)}\n  ({time.monotonic() - started:.0f} s)", flush=True)
    return section


def main(arguments: list[str]) -> int:
    """Runs what was asked for; the exit status."""
    options = _parse(arguments)
    names = options.only or list(ROWS)
    sizes = QUICK if options.quick else FULL
    output: Path | None = options.output
    if output is None and not options.only and not options.quick:
        output = _PAGE
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="eventstore-bench-") as name:
        machine: Machine = look_at_machine(Path(name), sizes)
        sections = asyncio.run(run_rows(names, Path(name), sizes))
    minutes = (time.monotonic() - started) / 60
    report = render(sections, machine, sizes, minutes, options.only or ())
    if output is not None:
        output.write_text(report, encoding="utf-8")
        print(f"written: {output.name}")
    return int(any("the row failed" in section.not_run for section in sections))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=list(ROWS),
        metavar="ROW",
        help=f"one of {', '.join(ROWS)}; may be given several times",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for a smoke test")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the report goes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
