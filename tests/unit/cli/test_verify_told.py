"""What ``eventstore verify`` says of a damaged log and of heads, and ``doctor`` of a migration."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import Append, EventStore, NewEvent
from eventstore.schema import NEWEST, migrate

from .conftest import Run
from .test_care_commands import damage


async def fill() -> None:
    """2,000 events in two streams: one in each, then the rest of one and of the other."""
    async with EventStore.open("sqlite:///eventstore.db") as store:
        for number in (1, 999):
            events = [NewEvent("t", {"n": n}) for n in range(number)]
            await store.append_many([Append("a", events), Append("b", events)])


@pytest.mark.parametrize("position", [1, 2, 700, 1_999, 2_000])
def test_damaged_event_then_how_far_the_log_is_sound(run: Run, position: int) -> None:
    """Everything before the damage is as it was written, and is counted, to the event."""
    asyncio.run(fill())
    damage(f"UPDATE events SET payload = X'39' WHERE position = {position}")
    ran = run("verify")
    assert ran.code == 4
    first, told = ran.out.splitlines()[:2]
    streams = min(position - 1, 2)
    said = (
        f"{position - 1:,} event{'s' * (position != 2)} in {streams} stream{'s' * (streams != 1)}"
    )
    assert first.startswith(
        f"damaged  tenant default: sound up to position {position - 1} ({said}), head 2000 "
    )
    assert told.startswith("damage  stream ")
    assert f"position {position}, kind hash" in told
    (report,) = json.loads(run("verify", "--json").out)["tenants"]
    assert report["events"] == position - 1


def test_head_of_another_store_then_said_and_no_damage(board: Run) -> None:
    """A head file that was taken from another store says nothing about this one."""
    board("append", "s", "t", "--store", "other.db")
    assert board("verify", "--store", "other.db", "--write-head", "other.json").code == 0
    ran = board("verify", "--head", "other.json")
    assert (ran.code, ran.out) == (2, "")
    assert "'other.json' belongs to another store" in ran.err
    shutil.copy("eventstore.db", "copy.db")
    board("verify", "--write-head", "head.json")
    assert board("verify", "--store", "copy.db", "--head", "head.json").code == 0


def test_head_file_without_a_store_then_still_compared(board: Run) -> None:
    """Heads from an engine that has no id, or written by hand, are compared as they are."""
    board("verify", "--write-head", "head.json")
    kept = json.loads(Path("head.json").read_text())
    assert len(kept.pop("store")) == 36
    Path("head.json").write_text(json.dumps(kept))
    assert board("verify", "--head", "head.json").code == 0
    kept["heads"]["default"]["position"] = 9
    Path("head.json").write_text(json.dumps(kept))
    assert "its tail is lost" in board("verify", "--head", "head.json").out


LATER = '''
"""A revision as a later version of this program may have."""
import sqlalchemy as sa
from alembic import op

revision = "9998"
down_revision = "{newest}"


def upgrade():
    op.add_column("events", sa.Column("later", sa.Text()))
'''


def test_older_store_then_migrate_names_both_revisions(
    board: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script's log shows from where to where a store was brought; once there, it says so."""
    folder = tmp_path / "schema"
    shutil.copytree(migrate._HERE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9998_later.py").write_text(LATER.format(newest=NEWEST))
    monkeypatch.setattr(migrate, "_HERE", folder)
    for place in (
        "eventstore.schema.migrate",
        "eventstore.engines.sqlite.migrating",
        "cli.commands.doctor",
    ):
        monkeypatch.setattr(f"{place}.NEWEST", "9998")
    ran = board("doctor", "--migrate")
    assert ran.out.splitlines()[-1] == (
        f"the schema was at {NEWEST}, and is at 9998 now, the newest that this program knows"
    )
    assert "was at 9998 already" in board("doctor", "--migrate").out
    found = json.loads(board("doctor", "--migrate", "--json").out)
    assert (found["former_schema"], found["schema"]) == ("9998", "9998")
    with closing(sqlite3.connect("eventstore.db")) as connection:
        assert connection.execute("SELECT count(later) FROM events").fetchone() == (0,)
