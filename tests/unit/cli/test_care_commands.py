"""``eventstore verify``, ``snapshot`` and ``doctor``, and opening the store."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cli.commands.doctor import advice_on

from .conftest import Run

READING = ("log", "streams", "state s", "diff s 1", "replay s", "verify", "snapshot s", "doctor")


def damage(*statements: str) -> None:
    """Changes the store's file behind its back, as a bad disk or a careless hand would."""
    with closing(sqlite3.connect("eventstore.db")) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_sound_log_then_exit_code_0(board: Run) -> None:
    """A log as it was written is sound, and counted."""
    ran = board("verify")
    assert ran.code == 0
    assert ran.out.startswith("sound  tenant default: 3 events in 1 stream, head 3 ")


def test_changed_payload_then_exit_code_4_with_the_place(board: Run) -> None:
    """Damage is told with stream, version and kind, and nothing is repaired."""
    damage("UPDATE events SET payload = X'7B7D' WHERE position = 2")
    ran = board("verify")
    assert ran.code == 4
    assert "stream 'board/7' version 2, position 2, kind hash" in ran.out
    found = json.loads(board("verify", "--json").out)
    assert found["sound"] is False
    (told,) = found["tenants"][0]["damages"]
    assert (told["stream"], told["version"], told["kind"]) == ("board/7", 2, "hash")


def test_reading_damage_then_exit_code_4(board: Run) -> None:
    """A command that meets damage stops there; it is served nowhere."""
    damage("UPDATE events SET payload = X'7B7D' WHERE position = 2")
    ran = board("state", "board/7")
    assert ran.code == 4
    assert "restore from a backup" in ran.err


def test_damage_in_another_tenant_then_seen(board: Run) -> None:
    """Without --tenant all tenants are checked, with it only that one."""
    board("append", "s", "t", "--tenant", "acme")
    damage(
        "UPDATE events SET payload = X'31' WHERE position = 1 AND tenant_id ="
        " (SELECT tenant_id FROM tenants WHERE name = 'acme')"
    )
    assert board("verify").code == 4
    assert board("verify", "--tenant", "acme").code == 4
    assert board("verify", "--tenant", "default").code == 0


def test_lost_tail_then_seen_against_a_kept_head(board: Run) -> None:
    """A store that was replaced by an older copy is sound in itself; the head tells."""
    Path("old.db").write_bytes(b"")
    with (
        closing(sqlite3.connect("eventstore.db")) as source,
        closing(sqlite3.connect("old.db")) as copy,
    ):
        source.backup(copy)
    board("append", "board/7", "task.removed", '{"task_id": "1"}')
    assert board("verify", "--write-head", "head.json").code == 0
    assert board("verify", "--head", "head.json").code == 0
    assert board("verify", "--store", "old.db").code == 0
    ran = board("verify", "--store", "old.db", "--head", "head.json")
    assert ran.code == 4
    assert "tail" in ran.out


def test_damaged_log_then_no_head_is_written(board: Run) -> None:
    """A head of a damaged log would hide the damage."""
    damage("UPDATE events SET payload = X'7B7D' WHERE position = 2")
    assert board("verify", "--write-head", "head.json").code == 4
    assert not Path("head.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"heads": {"default": {"position": 1}}}'])
def test_head_file_is_none_then_usage_error(board: Run, content: str) -> None:
    """A file that holds no heads is wrong usage, never damage."""
    Path("head.json").write_text(content)
    assert board("verify", "--head", "head.json").code == 2
    assert board("verify", "--head", "missing.json").code == 2


def test_snapshot_taken_listed_and_dropped(board: Run) -> None:
    """A snapshot can be taken, is listed with its version, and goes when it is dropped."""
    assert board("snapshot", "board/7").out == "board/7: no snapshots\n"
    assert "version 3" in board("snapshot", "board/7", "--take").out
    (line,) = board("snapshot", "board/7", "--list", "--json").out.splitlines()
    found = json.loads(line)
    assert (found["reducer"], found["version"], found["position"]) == ("agent", 3, 3)
    assert "agent" in board("snapshot", "board/7").out
    assert json.loads(board("snapshot", "board/7", "--drop", "--json").out)["dropped"] == 1
    assert board("snapshot", "board/7", "--json").out == ""


def test_sound_snapshot_then_proved(board: Run) -> None:
    """verify --snapshots compares what is kept with a full replay."""
    board("snapshot", "board/7", "--take")
    found = json.loads(board("verify", "--snapshots", "--json").out)
    assert found["tenants"][0]["snapshots"] == 1


def test_wrong_snapshot_then_exit_code_4(board: Run) -> None:
    """A snapshot that lies is damage; dropping it loses nothing."""
    board("snapshot", "board/7", "--take", "--reducer", "tasks")
    damage("UPDATE snapshots SET state = X'7B7D'")
    ran = board("verify", "--snapshots")
    assert ran.code == 4
    assert "kind snapshot" in ran.out
    assert "restore from a backup" not in ran.out  # nothing is lost
    board("snapshot", "board/7", "--drop")
    assert board("verify", "--snapshots").code == 0


def test_a_fork_inherits_a_wrong_snapshot_then_both_are_told_and_whose_it_is(board: Run) -> None:
    """What a fork's loads begin with is proved with the fork too; its parent's is to be dropped."""
    board("snapshot", "board/7", "--take", "--reducer", "tasks")
    assert board("fork", "board/7", "--into", "what-if").code == 0
    damage("UPDATE snapshots SET state = X'7B7D'")
    ran = board("verify", "--snapshots")
    assert (ran.code, ran.out.count("eventstore snapshot board/7 --drop")) == (4, 2)
    assert "stream 'what-if' version" in ran.out
    assert "1 snapshot compared" in ran.out


def test_snapshot_of_own_reducer_then_proved_when_it_is_named(board: Run) -> None:
    """Without its code a snapshot can only be counted."""
    Path("mine.py").write_text("from reducers import Reducer\nr = Reducer('mine', initial=0)\n")
    board("snapshot", "board/7", "--take", "--reducer", "mine.py:r")
    found = json.loads(board("verify", "--snapshots", "--json").out)["tenants"][0]
    assert (found["snapshots"], found["snapshots_unchecked"]) == (0, 1)
    named = board("verify", "--snapshots", "--reducer", "mine.py:r", "--json")
    found = json.loads(named.out)["tenants"][0]
    assert (found["snapshots"], found["snapshots_unchecked"]) == (1, 0)


TALLY = """
from reducers import Reducer, unchecked
tally = Reducer("tally", 0)

@tally.on("task.added")
@unchecked(reason="only for show")
def added(state, event):
    return state + 1
"""


def test_reducer_was_edited_then_verify_state_names_the_event(board: Run) -> None:
    """Edited code is told with the event at which states part, and is no damage."""
    Path("tally.py").write_text(TALLY)
    assert board("snapshot", "board/7", "--take", "--reducer", "tally.py:tally").code == 0
    clean = board("verify", "--state", "--reducer", "tally.py:tally")
    assert (clean.code, "1 kept state computed anew" in clean.out) == (0, True)
    Path("edited.py").write_text(TALLY.replace("state + 1", "state + 2"))
    ran = board("verify", "--state", "--reducer", "edited.py:tally")
    assert ran.code == 0
    assert "edited since" in ran.out
    (found,) = json.loads(board("verify", "--state", "--reducer", "edited.py:tally", "--json").out)[
        "tenants"
    ]
    (parting,) = found["partings"]
    assert (parting["cause"], parting["after"], parting["stream"]) == ("code", 0, "board/7")
    assert found["damages"] == []


def test_the_event_cannot_be_told_then_verify_state_says_between_which_it_is(board: Run) -> None:
    """Code that no longer changes what it did names no event of its own."""
    Path("tally.py").write_text(TALLY)
    for number in range(8, 11):
        data = json.dumps({"task_id": str(number), "title": "t"})
        assert board("append", "board/7", "task.added", data).code == 0
    assert board("snapshot", "board/7", "--take", "--reducer", "tally.py:tally").code == 0
    last = json.loads(board("snapshot", "board/7", "--json").out)["version"]
    Path("deaf.py").write_text(TALLY.replace("task.added", "task.forgotten"))
    ran = board("verify", "--state", "--reducer", "deaf.py:tally")
    assert ran.code == 0
    assert f"part at version {last} or before, behind version 0" in " ".join(ran.out.split())


def test_functions_are_unchecked_then_the_doctor_lists_them(board: Run) -> None:
    """With the reason that was given, for the reducers that are named."""
    Path("tally.py").write_text(TALLY)
    ran = board("doctor", "--reducer", "tally.py:tally")
    assert ran.code == 0
    assert "only for show" in ran.out
    found = json.loads(board("doctor", "--reducer", "tally.py:tally", "--json").out)
    assert [each["function"] for each in found["unchecked"]] == ["added"]


def test_two_actions_then_usage_error(board: Run) -> None:
    """A snapshot is taken or dropped, not both."""
    assert board("snapshot", "board/7", "--take", "--drop").code == 2


def test_doctor_then_versions_settings_and_counts(board: Run) -> None:
    """The doctor reads back what is in force."""
    found = json.loads(board("doctor", "--json").out)
    assert found["settings"]["journal_mode"] == "wal"
    assert found["settings"]["sqlite_version"] == sqlite3.sqlite_version
    assert found["counts"] == [{"tenant": "default", "events": 3, "streams": 1}]
    assert "synchronous         2 (FULL)" in board("doctor").out


@pytest.mark.parametrize(
    ("sqlite", "defective"),
    [("3.40.1", True), ("3.51.2", True), ("3.51.3", False), ("3.6.23", False), ("3.7.0", True)],
)
def test_sqlite_with_the_wal_reset_defect_then_advice(sqlite: str, defective: bool) -> None:
    """Versions 3.7.0 to 3.51.2 are named as what they are."""
    advice = advice_on({"sqlite_version": sqlite, "synchronous": 2, "durable": True})
    assert any("WAL-reset" in sentence for sentence in advice) == defective


def test_weak_settings_then_advice() -> None:
    """What a power failure would undo is said."""
    assert "power failure" in advice_on({"sqlite_version": "3.51.3", "synchronous": 1})[0]
    assert "keeps nothing" in advice_on({"durable": False})[0]


@pytest.mark.parametrize("command", READING)
def test_no_store_then_refused_and_none_is_made(run: Run, command: str) -> None:
    """A command that only reads never makes a file: a mistyped path is an error."""
    ran = run(*command.split(), "--store", "typo.db")
    assert ran.code == 1
    assert "no store at 'typo.db'" in ran.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be one"])
def test_file_is_no_database_then_refused_untouched(run: Run, content: bytes) -> None:
    """A file of another kind is told from a store, and left as it is."""
    Path("notes.txt").write_bytes(content)
    ran = run("log", "--store", "notes.txt")
    assert ran.code == 1
    assert "no store" in ran.err
    assert Path("notes.txt").read_bytes() == content


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_database_of_another_program_then_refused_untouched(run: Run, mode: str) -> None:
    """A reading command makes no tables in somebody else's database, and nothing beside it."""
    with closing(sqlite3.connect("other.db")) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE notes (text)")
        connection.commit()
    before = Path("other.db").read_bytes()
    ran = run("log", "--store", "other.db")
    assert ran.code == 1
    assert "holds no store" in ran.err
    assert Path("other.db").read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["other.db"]


def test_events_not_folded_into_the_file_then_read_all_the_same(run: Run) -> None:
    """A store whose process died has everything beside the file still; it is found."""
    with closing(sqlite3.connect("eventstore.db")) as reader:
        reader.execute("PRAGMA journal_mode = WAL")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        run("append", "board/7", "t")
        assert Path("eventstore.db-wal").stat().st_size > 0
        assert run("log", "board/7").out.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("eventstore.db", 0),
        ("sqlite:///eventstore.db", 0),
        ("mysql://root:hunter2@db/x", 2),
        ("sqlite://eventstore.db", 2),
        ("", 0),
    ],
)
def test_store_url_then_read_as_written(board: Run, url: str, code: int) -> None:
    """--store takes a URL or a path; what is neither is wrong usage and shows no password."""
    ran = board("log", "--store", url)
    assert ran.code == code
    assert "hunter2" not in ran.err


def test_variable_names_the_store_then_used(board: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """$EVENTSTORE_URL is the default, --store goes first."""
    monkeypatch.setenv("EVENTSTORE_URL", "sqlite:///other.db")
    assert board("log").code == 1
    assert board("log", "--store", "eventstore.db").code == 0


def test_path_with_odd_characters_then_that_file(run: Run) -> None:
    """A path is a path, whatever characters a URL would read differently."""
    assert run("append", "s", "t", "--store", "a b%20c#d?.db").code == 0
    assert Path("a b%20c#d?.db").exists()
