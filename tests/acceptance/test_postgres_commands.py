"""The real command on a PostgreSQL server: the same answers, and the password nowhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.servers.postgres import PostgresServer

from .conftest import Command

FIXTURES = Path(__file__).parents[1] / "fixtures" / "importers"


@pytest.fixture
def said(command: Command, postgres: PostgresServer, postgres_url: str) -> Iterator[Command]:
    """The command on a database of its own, named by the variable. Whatever it prints in a test
    is looked through for the password at the end."""
    spoken: list[str] = []

    def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        ran = command(*arguments, **{"EVENTSTORE_URL": postgres_url, **extra})
        spoken.extend((ran.stdout, ran.stderr))
        return ran

    yield run
    assert spoken
    assert [text for text in spoken if postgres.password in text] == []


def test_a_session_is_imported_then_every_command_answers_as_on_a_file(
    said: Command, command: Command
) -> None:
    """import, log, streams, state, diff, replay, export, verify, snapshot, append: what they print
    is what they print on SQLite, but for the times and ids of the store."""
    source = str(FIXTURES / "tau2_bench.json")
    assert [run("import", source).returncode for run in (said, command)] == [0, 0]
    for arguments in (
        ("streams", "--json"),
        ("state", "session/sim-1", "--json"),
        ("diff", "session/sim-1", "3", "9", "--json"),
        ("replay", "session/sim-1", "--json"),
        ("export", "session/sim-1", "--as", "source"),
        ("snapshot", "session/sim-1"),
    ):
        one, other = said(*arguments), command(*arguments)
        assert (one.returncode, one.stderr) == (other.returncode, other.stderr) == (0, "")
        assert _told(one.stdout) == _told(other.stdout)
    log = [json.loads(line) for line in said("log", "session/sim-1", "--json").stdout.splitlines()]
    assert [event["version"] for event in log] == list(range(1, 17))
    assert said("append", "s", "t", '{"n": 1}').returncode == 0
    assert said("append", "s", "t", "--expected", "0").returncode == 1
    verified = said("verify")
    assert (verified.returncode, verified.stdout[:5]) == (0, "sound")


def _told(text: str) -> list[object]:
    """What was printed, without what differs from store to store."""
    own = ("id", "recorded_at", "first_recorded_at", "last_recorded_at", "causation_id")

    def strip(value: object) -> object:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key not in own}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return [strip(json.loads(line)) if line.startswith("{") else line for line in text.splitlines()]


def test_commands_are_suggested_then_they_hold_no_password_and_can_be_pasted(
    said: Command, postgres: PostgresServer, postgres_url: str
) -> None:
    """With the variable set they need no --store; else the URL stands there without password,
    which the driver then takes from PGPASSWORD."""
    source = str(FIXTURES / "tau2_bench.json")
    unset = {"EVENTSTORE_URL": ""}
    for arguments in (("import", source), ("demo", "--store", postgres_url)):
        ran = said(*arguments)
        lines = [line for line in ran.stdout.splitlines() if line.startswith("  eventstore")]
        assert len(lines) == 3
    for name, place in (("EVENTSTORE_URL", ()), ("OTHER", ("--store", postgres_url))):
        ran = said("import", source, *place, **(unset | {name: postgres_url}))
        lines = [line.split() for line in ran.stdout.splitlines() if line[:4] == "  ev"]
        assert all(("--store" in line) is (name == "OTHER") for line in lines)
        for line in lines:
            again = said(
                *line[1:], **(unset | {name: postgres_url, "PGPASSWORD": postgres.password})
            )
            assert (again.returncode, again.stderr) == (0, "")


def test_the_doctor_looks_at_a_server_then_settings_and_no_password(said: Command) -> None:
    """What is in force there; a database without a store is told and left as it is."""
    empty = said("doctor")
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "holds no store" in empty.stderr
    assert said("streams").returncode == 1
    assert said("append", "s", "t").returncode == 0
    found = json.loads(said("doctor", "--json").stdout)
    assert (found["settings"]["engine"], found["settings"]["fsync"]) == ("postgresql", "on")
    assert found["counts"] == [{"tenant": "default", "events": 1, "streams": 1}]
    assert found["advice"] == []
    assert "at 0002 already" in said("doctor", "--migrate").stdout


async def test_the_server_refuses_then_the_line_says_why_and_no_password(
    said: Command, postgres_url: str
) -> None:
    """A wrong password, a database that is not there, nobody at the port, another's tables."""
    parts = urlsplit(postgres_url)
    wrong = parts._replace(netloc=f"eventstore:canary-secret@127.0.0.1:{parts.port}").geturl()
    nobody = parts._replace(netloc="eventstore:canary-secret@127.0.0.1:port").geturl()
    for url, code, why in (
        (wrong, 1, "the password is refused"),
        (f"{postgres_url}x", 1, "does not exist"),
        (nobody, 2, "port"),
        (f"{postgres_url}?notify=loud", 2, "notify is on or off"),
    ):
        ran = said("log", EVENTSTORE_URL=url)
        assert (ran.returncode, ran.stdout) == (code, "")
        assert why in ran.stderr
        assert "canary-secret" not in ran.stderr
    raw = await asyncpg.connect(postgres_url)
    await raw.execute("CREATE SCHEMA eventstore; CREATE TABLE eventstore.events (a int)")
    await raw.close()
    assert "not an event store's" in said("append", "s", "t").stderr
