"""A schema of an older revision, met by this code as a later version of it may be."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import main
from eventstore import EventStore, NewEvent, StorageFailed
from eventstore.schema import known_revisions, migrate

_SECOND = '''
"""A second revision."""
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.add_column("events", sa.Column("later", sa.Text()))
'''
_BROKEN = _SECOND + '    op.execute("INSERT INTO nowhere VALUES (1)")\n'
_COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'eventstore'"
    " AND table_name = 'events'"
)
Become = Callable[[str], None]


@pytest.fixture
def become_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Become:
    """Makes this code what a later version may be, with one more revision."""

    def become(second: str) -> None:
        folder = tmp_path / "schema"
        shutil.copytree(migrate._HERE, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "0003_later.py").write_text(second)
        monkeypatch.setattr(migrate, "_HERE", folder)
        for place in (
            "eventstore.schema.migrate",
            "eventstore.engines.postgres.migrating",
            "cli.commands.doctor",
        ):
            monkeypatch.setattr(f"{place}.NEWEST", "0003")
        assert known_revisions() == ["0001", "0002", "0003"]

    return become


async def test_an_older_schema_is_opened_then_it_is_left_alone_until_doctor_migrates_it(
    url: str, raw: Any, become_newer: Become, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names both revisions and the command; the command says what it did, once."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("n", 1))
    become_newer(_SECOND)
    with pytest.raises(StorageFailed, match=r"'0002'.*'0003'.*doctor --migrate") as refused:
        await EventStore.open(url)
    assert refused.value.written == "no"

    def doctor(*arguments: str) -> tuple[int, str, str]:
        code = main(["doctor", "--store", url, *arguments])
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    code, out, err = await asyncio.to_thread(doctor)
    assert (code, out) == (1, "")
    assert "doctor --migrate" in err
    assert "later" not in [row[0] for row in await raw.fetch(_COLUMNS)]
    code, out, err = await asyncio.to_thread(doctor, "--migrate")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("the schema was at 0002, and is at 0003 now")
    assert "later" in [row[0] for row in await raw.fetch(_COLUMNS)]
    code, out, err = await asyncio.to_thread(doctor, "--migrate")
    assert "at 0003 already" in out
    async with EventStore.open(url) as store:
        assert (await store.append("s", NewEvent("n", 2))).position == 2
        assert (await store.verify()).damages == ()


async def test_a_migration_fails_then_the_schema_is_as_it_was(
    url: str, raw: Any, become_newer: Become, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration is one transaction, and its error is the store's, without its parameters."""
    become_newer(_BROKEN)
    with pytest.raises(StorageFailed):
        await EventStore.open(f"{url}?migrate=on")
    assert "later" not in [row[0] for row in await raw.fetch(_COLUMNS)]
    monkeypatch.undo()
    async with EventStore.open(url) as store:
        assert await store.head() == 0
