"""What a power failure takes back of views in a file: commits that did not wait for the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from eventstore import EventStore
from projections.asking import reached, serving

from .stage import add, counted, counts_view, feed, notes_view, rows_of


async def test_the_last_pages_of_views_are_undone_then_the_relay_makes_them_again(
    tmp_path: Path,
) -> None:
    """Rows and checkpoint go back together, to what was on the disk at the last append; each event
    counts once in the end."""
    file, on_disk = tmp_path / "log.db", tmp_path / "on-disk"
    url, on_disk_url = f"sqlite:///{file}", f"sqlite:///{on_disk}/log.db"
    counts, notes = counts_view(), notes_view()
    async with EventStore.open(url) as store:
        relay = feed(store, counts, notes)
        await add(store, "s", "k", "a")
        await relay.run_once()
        await add(store, "s", "k", "bb")  # synced, and with it everything before it
        on_disk.mkdir()
        for name in ("log.db", "log.db-wal"):
            shutil.copy(tmp_path / name, on_disk / name)
        await relay.run_once()
        assert await counted(counts.bind(store)) == {"s": (2, 3)}
    async with EventStore.open(on_disk_url) as store:
        build, _ = await serving(counts.bind(store))
        assert (await reached(build))[0] == 1
        assert await counted(counts.bind(store)) == {"s": (1, 1)}
        await add(store, "s", "other", "ccc")
        await feed(store, counts, notes).run_once()
        assert await counted(counts.bind(store)) == {"s": (3, 6)}
        rows = await rows_of(notes.bind(store))
        assert {key: row["text"] for key, row in rows.items()} == {"k": "bb", "other": "ccc"}
        assert (await store.verify()).damages == ()
