"""`eventstore import` and `export` as processes of their own, on the recorded sessions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import EVENTSTORE, Command

FIXTURES = Path(__file__).parents[1] / "fixtures" / "importers"
RECORDED = Path(os.environ.get("EVENTSTORE_DATA", Path(__file__).parents[3] / "shared" / "data"))
SESSION = "3f0c2a4e-0000-4000-8000-000000000001"
WAIT_SECONDS = 60
"""Far more than a growing file takes to be seen; only a failing test waits for it."""

STATED = {
    "adk": {"sessions": 5, "records": 140},
    "claude-code": {"sessions": 5, "records": 1863 + 10 + 4 + 15 + 39},
    "memorybank": {"sessions": 150, "turns": 566, "records": 566},
    "tau-bench": {"sessions": 200, "messages": 5308, "tool_calls": 1164, "reward": 84},
    "tau2-bench": {"sessions": 80, "messages": 3343, "tool_calls": 988, "errors": 12},
}
"""What the README beside the recorded sessions says of each folder."""

STORED_MAX = {"memorybank": 6.5}
"""Bytes in the store for each byte of the source, where it is not 2.5 at most: a turn of a bank is
short (370 bytes), and becomes three events."""


def lines_of(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("folder", STATED)
def test_recorded_folder_then_stated_counts_small_file_and_nothing_new_again(
    folder: str, command: Command, tmp_path: Path
) -> None:
    """The counts are those of the README, the file grows by at most 2.5 times the source (for short
    records more), and the second import appends nothing."""
    command("append", "other", "nothing.yet", "--store", "empty.db")
    ran = command("import", str(RECORDED / folder), "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    total = lines_of(ran.stdout)[-1]
    assert {key: total[key] for key in STATED[folder]} == STATED[folder]
    stored, empty = (
        sum(path.stat().st_size for path in tmp_path.glob(f"{name}.db*"))
        for name in ("eventstore", "empty")
    )
    assert empty > 0
    assert stored - empty <= STORED_MAX.get(folder, 2.5) * total["source_bytes"]
    head = command("streams", "--json").stdout
    again = command("import", str(RECORDED / folder), "--json")
    assert again.returncode == 0
    assert lines_of(again.stdout)[-1]["new_events"] == 0
    assert command("streams", "--json").stdout == head


def test_table_then_three_commands_that_work(command: Command, shell: Command) -> None:
    """The commands to paste name streams that are there, in the store that was written."""
    ran = command("import", str(FIXTURES), "--store", "my file.db", "--tenant", "acme")
    assert ran.returncode == 3, "the fixtures hold a broken line"
    pasted = [line.strip() for line in ran.stdout.splitlines() if line.startswith("  eventstore")]
    assert [line.split()[1] for line in pasted] == ["state", "diff", "export"]
    for line in pasted:
        again = shell(line)
        assert (again.returncode, again.stderr) == (0, ""), line
        assert again.stdout


def test_table_then_the_heaviest_session_first(command: Command) -> None:
    """Sessions are ranked by their tokens."""
    ran = command("import", str(FIXTURES / "claude"))
    titles = [line for line in ran.stdout.splitlines() if "session/" in line and "toys" in line]
    assert titles[0].startswith("Tidy up the toys folder, please.")
    assert ran.stdout.splitlines()[0].split() == [
        "title",
        "turns",
        "calls",
        "errors",
        "tokens",
        "stream",
    ]


def test_broken_line_then_file_line_and_exit_code_three(command: Command) -> None:
    """What is broken is told on stderr, one line each; the rest is there."""
    path = FIXTURES / "broken.jsonl"
    ran = command("import", str(path), str(FIXTURES / "adk_camel.json"))
    assert ran.returncode == 3
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"eventstore: {path}:2: no JSON")
    assert "2 sessions" in ran.stdout


def test_path_that_is_not_there_then_wrong_usage(command: Command, tmp_path: Path) -> None:
    """Nothing is written, no store is made."""
    ran = command("import", "nowhere.json")
    assert ran.returncode == 2
    assert command("import").returncode == 2
    assert command("import", str(FIXTURES / "tau_bench.json"), "--id", "x").returncode == 2
    assert "nowhere.json" in ran.stderr


def test_examples_of_the_help_then_they_run(
    command: Command, shell: Command, tmp_path: Path
) -> None:
    """Whoever pastes an example sees it work (one that follows is left out: it does not end)."""
    shutil.copy(FIXTURES / "openai_array.json", tmp_path / "chat.json")
    shutil.copy(FIXTURES / "openai_lines.jsonl", tmp_path / "chat.jsonl")
    (tmp_path / "results").mkdir()
    shutil.copy(FIXTURES / "tau2_bench.json", tmp_path / "results")
    command("import", str(FIXTURES / "openai_array.json"), "--id", "42")
    for name in ("import", "export"):
        examples = [
            line.split("$ ", 1)[1]
            for line in command(name, "--help").stdout.splitlines()
            if line.strip().startswith("$ ")
        ]
        assert len(examples) == 3
        for example in examples:
            if "--follow" not in example:
                ran = shell(example)
                assert (ran.returncode, ran.stderr) == (0, ""), example


def test_claude_code_option_then_the_sessions_that_it_keeps(
    command: Command, tmp_path: Path
) -> None:
    """They are found in the home folder, or where the variable says."""
    folder = tmp_path / "config" / "projects" / "-home-ann-toys"
    shutil.copytree(FIXTURES / "claude", folder)
    ran = command("import", "--claude-code", "--json", CLAUDE_CONFIG_DIR=str(tmp_path / "config"))
    assert ran.returncode == 0
    assert lines_of(ran.stdout)[-1]["sessions"] == 3
    assert command("import", "--claude-code").returncode == 2


def test_export_then_the_source_again(command: Command, tmp_path: Path) -> None:
    """Records one a line, by any beginning of the stream's name; a document that can be imported
    into the same stream; events."""
    path = FIXTURES / "claude" / f"{SESSION}.jsonl"
    command("import", str(path))
    ran = command("export", SESSION[:8], "--as", "source")
    assert lines_of(ran.stdout) == lines_of(path.read_text())
    command("import", str(FIXTURES / "tau2_bench.json"))
    document = command("export", "sim-1", "--as", "document")
    (tmp_path / "again.json").write_text(document.stdout)
    again = command("import", "again.json", "--json")
    assert lines_of(again.stdout)[-1]["new_events"] == 0
    events = lines_of(command("export", "sim-1", "--as", "events").stdout)
    assert [one["version"] for one in events] == list(range(1, 17))


def test_export_of_what_was_not_imported_then_told(command: Command) -> None:
    """A stream of one's own has no source."""
    command("append", "board/7", "task.added", '{"task_id": "1"}')
    for form in ("source", "document"):
        ran = command("export", "board/7", "--as", form)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "nothing that was imported" in ran.stderr
    assert command("export", "board/7", "--as", "events").returncode == 0
    assert command("export", "board/7", "--as", "yaml").returncode == 2


def test_two_processes_import_the_same_then_each_record_once(
    environment: dict[str, str], command: Command, tmp_path: Path
) -> None:
    """Two importers on one file write together what one would alone."""
    arguments = [str(EVENTSTORE), "import", str(RECORDED / "claude-code"), "--json"]
    running = [
        subprocess.Popen(
            arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    totals = [lines_of(one.communicate(timeout=WAIT_SECONDS)[0])[-1] for one in running]
    assert [one.returncode for one in running] == [0, 0]
    assert sum(total["new_records"] for total in totals) == STATED["claude-code"]["records"]
    stream = "258c7280-ae70-4798-800f-63464d01a85d"
    path = RECORDED / "claude-code" / f"{stream}.jsonl"
    exported = command("export", stream, "--as", "source").stdout
    assert lines_of(exported) == lines_of(path.read_text())


class Following:
    """`eventstore import --follow` in a process of its own."""

    def __init__(self, path: Path, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [str(EVENTSTORE), "import", str(path), "--follow", "--json"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def interrupt(self) -> tuple[int, list[Any], str]:
        """Ctrl-C; gives exit code, report and what stood on stderr."""
        self._process.send_signal(signal.SIGINT)
        out, err = self._process.communicate(timeout=WAIT_SECONDS)
        return self._process.returncode, lines_of(out), err

    def end(self) -> None:
        """Ends it in any case."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def growing(tmp_path: Path, environment: dict[str, str]) -> Iterator[tuple[Path, Following]]:
    """A file with the first rows of a session, and a command that follows it."""
    path = tmp_path / "growing.jsonl"
    rows = (FIXTURES / "claude" / f"{SESSION}.jsonl").read_text().splitlines(keepends=True)
    path.write_text("".join(rows[:3]))
    following = Following(path, tmp_path, environment)
    yield path, following
    following.end()


def test_file_grows_while_it_is_followed_then_in_step_until_interrupted(
    growing: tuple[Path, Following], tmp_path: Path
) -> None:
    """Rows come over as they are written; Ctrl-C ends with the report, and nothing is lost."""
    path, following = growing
    rows = (FIXTURES / "claude" / f"{SESSION}.jsonl").read_text().splitlines(keepends=True)
    wait_for_records(tmp_path, 3)
    with path.open("a") as file:
        file.write("".join(rows[3:6]) + rows[6][:50])
    wait_for_records(tmp_path, 6)
    with path.open("a") as file:
        file.write(rows[6][50:] + "".join(rows[7:]))
    wait_for_records(tmp_path, len(rows))
    code, report, err = following.interrupt()
    assert (code, err) == (0, "")
    assert report[0]["records"] == report[0]["new_records"] == len(rows)
    assert path.read_text() == "".join(rows)


WATCH = """
import asyncio, sys
from cli.importers import export_source
from eventstore import EventStore

async def watch(stream, count):
    async with EventStore.open("sqlite:///eventstore.db") as store:
        async for _ in store.subscribe():
            records = [one async for one in export_source(store, stream)]
            if len(records) >= count:
                return

asyncio.run(watch(sys.argv[1], int(sys.argv[2])))
"""


def wait_for_records(folder: Path, count: int) -> None:
    """Waits, in a process of its own beside the importer, until the session has so many."""
    subprocess.run(
        [sys.executable, "-c", WATCH, f"session/{SESSION}", str(count)],
        cwd=folder,
        timeout=WAIT_SECONDS,
        check=True,
    )
