"""The importer on recorded sessions, where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

from cli.importers import import_paths
from eventstore import EventStore

from ..bench import Bench, url_of
from ..measuring import Bar, Line, Section, Series, timing

_FOLDERS = ("adk", "claude-code", "tau-bench", "tau2-bench")
_BESIDE = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def recorded_data() -> Path:
    """Where the recorded sessions are, if they are on this machine."""
    return Path(os.environ.get("EVENTSTORE_DATA", _BESIDE))


async def import_sessions(bench: Bench) -> Section:
    """Source records a second, and the store file against its sources."""
    data = recorded_data()
    folders = [data / name for name in _FOLDERS if (data / name).is_dir()]
    if not folders:
        return Section("import", [], not_run="the recorded sessions are not on this machine")
    if bench.sizes.quick:
        folders = folders[:1]
    speeds: list[float] = []
    shares: list[float] = []
    for _ in range(bench.sizes.rounds):
        path = bench.new_path()
        async with EventStore.open(url_of(path)) as store:
            with timing() as time:
                report = await import_paths(store, folders)
        told = report.totals()
        speeds.append(time.rate(told["new_records"]))
        shares.append(path.stat().st_size / told["source_bytes"])
        bench.remove(path)
    rate, share = Series(tuple(speeds)), Series(tuple(shares))
    return Section(
        "import",
        [
            Line(
                "importer, source records",
                rate,
                "/s",
                judged=rate,
                judged_unit="/s",
                bar=Bar(5_000, "/s"),
            ),
            Line(
                "importer, store file",
                share,
                "x the source",
                judged=share,
                judged_unit="x the source",
                bar=Bar(2.5, "x the source", at_most=True),
            ),
        ],
        [
            f"{told['new_records']:,} records of {told['sessions']} sessions"
            f" ({told['source_bytes']:,} bytes read) into a fresh file, in this process.",
        ],
    )
