"""``eventstore projections`` and ``recall`` as a person uses them: real processes, real stores."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, NewEvent
from tests.servers.postgres import PostgresServer

from .conftest import SECONDS_MAX, VIEWS, Command
from .test_cli_process import on_terminal, start

TABLES = ["sessions", "messages", "tool_calls", "memories", "usage", "audit", "session_state"]
STOCK = [*TABLES, "memory_index"]


def lines(ran: subprocess.CompletedProcess[str]) -> list[Any]:
    """What a command printed as JSON Lines; it must have gone well."""
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@contextlib.contextmanager
def started(
    tmp_path: Path, environment: dict[str, str], *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """The command in the background; whatever a test finds, it does not outlive the block."""
    with start(tmp_path, environment, *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(params=["sqlite", "postgres"])
def notes(request: pytest.FixtureRequest, command: Command, tmp_path: Path) -> Iterator[Command]:
    """The command on a store of each engine with six notes, the third of which cannot be applied;
    views.py stands beside it. Whatever is printed is looked through for the password and the text
    of that note."""
    (tmp_path / "views.py").write_text(VIEWS)
    url, password = "notes.db", "no password"
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        url, password = request.getfixturevalue("postgres_url"), server.password
    said: list[str] = []

    def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        ran = command(*arguments, EVENTSTORE_URL=url, **extra)
        said.extend((ran.stdout, ran.stderr))
        return ran

    asyncio.run(_keep_notes(f"sqlite:///{tmp_path}/{url}" if request.param == "sqlite" else url))
    yield run
    assert [text for text in said if password in text or "hunter2" in text] == []


async def _keep_notes(url: str) -> None:
    async with EventStore.open(url) as store:
        for number, stream in enumerate(("a", "b", "a", "a", "b", "c"), start=1):
            text = "bad hunter2" if number == 3 else f"note {number}"
            await store.append(stream, NewEvent("note.added", {"id": number, "text": text}))


def test_views_are_fed_once_then_rows_status_and_list_say_so(notes: Command) -> None:
    """run --once feeds views up to the head and ends; each is listed with its position, and a row
    says what it is good for."""
    fed = lines(notes("projections", "run", "--once", *TABLES, "--json"))
    assert fed[0] == {"report": "feeding", "views": TABLES, "tenant": "default"}
    assert [(each["view"], each["position"]) for each in fed[1:]] == [(name, 6) for name in TABLES]
    listed = {each["view"]: each for each in lines(notes("projections", "list", "--json"))}
    assert list(listed) == STOCK
    assert {listed[name]["position"] for name in TABLES} == {6}
    assert listed["memory_index"]["generation"] is None
    status = lines(notes("projections", "status", "audit", "--json"))
    assert [(each["lag_events"], each["writes_per_event"]) for each in status] == [(0, 1.0)]
    row = lines(notes("projections", "show", "audit", "2", "--json"))[0]
    assert (row["key"], row["position"], row["stale"]) == (2, 6, False)
    assert (row["value"]["stream"], row["value"]["type"]) == ("b", "note.added")
    assert lines(notes("projections", "show", "audit", "99", "--json"))[0]["value"] is None
    state = lines(notes("projections", "show", "session_state", "a", "--json"))[0]
    assert (state["key"], state["position"], state["value"]) == ("a", 6, None)


def test_the_database_has_no_pgvector_then_the_other_stock_views_are_fed(
    command: Command, postgres_url: str
) -> None:
    """What was not asked for by name and cannot be is left out, and told; by name it is refused."""
    command("append", "s", "t", "{}", EVENTSTORE_URL=postgres_url)
    ran = command("projections", "run", "--once", EVENTSTORE_URL=postgres_url)
    assert (ran.returncode, "7 views up to date at position 1" in ran.stdout) == (0, True)
    assert ran.stderr.startswith("eventstore: memory_index is left out: ")
    asked = command("projections", "run", "--once", "memory_index", EVENTSTORE_URL=postgres_url)
    assert (asked.returncode, "CREATE EXTENSION vector" in asked.stderr) == (1, True)


def test_an_event_fails_then_its_key_is_listed_retried_and_dropped_with_a_reason(
    notes: Command, tmp_path: Path
) -> None:
    """What waits is told with the place that failed, a retry that fails again exits with 1, mended
    code delivers in order, and a drop keeps its reason in the log."""
    mine = ("--views", "views.py")
    ran = notes("projections", "run", "--once", *mine)
    assert ran.returncode == 0
    assert re.search(
        r"view notes: key 'a' is parked at position 3: ValueError in added", ran.stderr
    )
    parked = lines(notes("projections", "dead-letters", "notes", "--json"))
    assert [(each["key"], each["position"]) for each in parked] == [("a", 3), ("a", 4)]
    shown = notes("projections", "dead-letters").stdout
    assert "notes  a  2 events parked" in shown
    assert "position 3, note.added in a" in shown
    waits = notes("projections", "show", "notes", "4", *mine, "--at-least", "4")
    assert (waits.returncode, "waits in the dead letters" in waits.stderr) == (1, True)

    again = notes("projections", "retry", "notes", "a", *mine)
    assert (again.returncode, "still parked: a at position 3" in again.stdout) == (1, True)
    dropped = notes("projections", "drop", "notes", "a", "--reason", "only a test", *mine)
    assert dropped.returncode == 0, dropped.stderr
    assert "1 event delivered" in dropped.stdout
    assert notes("projections", "dead-letters").stdout == "nothing is parked\n"
    assert lines(notes("projections", "show", "notes", "4", *mine, "--json"))[0]["value"] == {
        "id": 4,
        "text": "note 4",
    }
    audit = lines(notes("log", "$views/notes", "--json"))[0]
    assert (audit["type"], audit["data"]["reason"]) == ("$view.dropped", "only a test")


def test_the_code_is_mended_then_a_retry_delivers_everything(
    notes: Command, tmp_path: Path
) -> None:
    """retry --all leaves nothing parked, and the rows are there."""
    mine = ("--views", "views.py:notes")
    notes("projections", "run", "--once", "notes", *mine)
    (tmp_path / "views.py").write_text(VIEWS.replace('startswith("bad")', 'startswith("worse")'))
    told = notes("projections", "retry", "notes", "--all", *mine, "--json")
    assert told.returncode == 0
    assert json.loads(told.stdout)["still_parked"] == 0
    assert "its code changed without a new version" in told.stderr
    assert notes("projections", "dead-letters", "notes").stdout == "notes: nothing is parked\n"
    row = notes("projections", "show", "notes", "4", *mine)
    assert (row.returncode, "note 4" in row.stdout) == (0, True)


def test_nobody_feeds_the_view_and_its_code_is_not_given_then_a_retry_is_only_asked(
    notes: Command,
) -> None:
    """Without the code, what can be done is to ask, and to say who could do it."""
    notes("projections", "run", "--once", "--views", "views.py")
    asked = notes("projections", "retry", "notes", "a")
    assert asked.returncode == 0
    assert "asked for 2 events; no relay feeds it" in asked.stdout
    row = notes("projections", "show", "notes", "1")
    assert (row.returncode, "its code is given with --views" in row.stderr) == (2, True)


def test_the_code_changes_then_a_rebuild_lists_what_differs_and_a_second_finds_nothing(
    notes: Command, tmp_path: Path
) -> None:
    """rebuild --compare exits with 1 where rows differ and lists them; built again by the same code
    they are the same, and the new generation serves."""
    mine = ("--views", "views.py")
    notes("projections", "run", "--once", *mine)
    (tmp_path / "views.py").write_text(VIEWS.replace('event.data["text"]}', '"new"}'))
    status = notes("projections", "status", *mine)
    assert "notes: its code changed without a new version" in status.stdout
    first = notes("projections", "rebuild", "notes", "--compare", *mine)
    assert first.returncode == 1
    assert "4 rows compared, 4 differ" in first.stdout
    assert '- text: "note 1"\n+ text: "new"' in first.stdout
    second = notes("projections", "rebuild", "notes", "--compare", "--json", *mine)
    assert second.returncode == 0
    assert json.loads(second.stdout)["comparison"]["differing"] == 0
    states = lines(notes("projections", "status", "--json"))
    assert [(each["generation"], each["state"]) for each in states][-1] == (3, "serving")
    by_key = notes("projections", "rebuild", "notes", "--key", "b", *mine)
    assert (by_key.returncode, by_key.stdout) == (0, "notes: the rows of b are built again\n")
    by_none = notes("projections", "rebuild", "notes", "--key", "nosuch", *mine)
    assert (by_none.returncode, "no event of the log has this key" in by_none.stderr) == (1, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_relay_runs_then_writes_are_read_and_a_signal_ends_it(
    board: Command,
    tmp_path: Path,
    environment: dict[str, str],
    number: signal.Signals,
    code: int,
) -> None:
    """Rows follow appends as long as it runs; SIGTERM ends it with 0 and Ctrl-C with 130, and what
    it held is free at once."""
    with started(tmp_path, environment, "projections", "run", "audit", "--json") as relay:
        assert relay.stdout is not None
        assert json.loads(relay.stdout.readline())["report"] == "feeding"
        assert json.loads(relay.stdout.readline())["position"] == 8
        board("append", "later", "t", "{}")
        row = lines(board("projections", "show", "audit", "9", "--at-least", "9", "--json"))[0]
        assert row["value"]["stream"] == "later"
        assert "fed by nobody" not in board("projections", "status").stdout
        relay.send_signal(number)
        out, err = relay.communicate(timeout=SECONDS_MAX)
    assert (relay.returncode, out, err) == (code, "", "")
    assert "fed by nobody: audit" in board("projections", "status").stdout


def test_session_state_is_kept_in_redis_then_it_is_shown_from_there_and_its_password_nowhere(
    board: Command, redis_url: str
) -> None:
    """--redis, or the variable, says where the rows are; without it nobody calls the store
    damaged."""
    ran = board("projections", "run", "--once", "session_state", "--redis", redis_url)
    assert (ran.returncode, ran.stderr) == (0, "")
    key = ("session_state", "board/7")
    row = board("projections", "show", *key, "--json", EVENTSTORE_REDIS_URL=redis_url)
    assert lines(row)[0]["value"]["tasks"]["tasks"]["1"]["title"] == "Book a room"
    without = board("projections", "show", *key)
    assert (without.returncode, "name it with --redis URL" in without.stderr) == (1, True)
    away = board("projections", "show", *key, "--redis", "redis://:hunter2@127.0.0.1:1/0")
    assert (away.returncode, "does not answer" in away.stderr) == (1, True)
    assert "hunter2" not in away.stdout + away.stderr


def test_a_view_that_stops_then_exit_code_1_with_the_reason(board: Command, tmp_path: Path) -> None:
    """A view declared to stop ends the command, with and without --once, and says why."""
    stops = VIEWS.replace("attempts=2", 'attempts=1, on_error="stop"')
    (tmp_path / "views.py").write_text(stops)
    board("append", "a", "note.added", '{"id": 1, "text": "bad hunter2"}')
    for arguments in (("--once",), ()):
        ran = board("projections", "run", "--views", "views.py", *arguments)
        assert ran.returncode == 1
        assert "view 'notes' stopped at position 9: ValueError in added" in ran.stderr
        assert "hunter2" not in ran.stdout + ran.stderr
    assert (
        "notes: stopped: view 'notes' stopped at position 9"
        in board("projections", "status").stdout
    )


def test_status_is_watched_on_a_terminal_then_it_is_drawn_again_and_nothing_is_cropped(
    board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """A table of 80 columns, drawn in place until Ctrl-C."""
    board("projections", "run", "--once")
    shown = on_terminal(tmp_path, environment, "projections", "status")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    for name in STOCK:
        assert re.search(rf"^{name} +1  serving ", text, re.MULTILINE), name
    with started(tmp_path, environment, "projections", "status", "audit", "-w", "--json") as watch:
        assert watch.stdout is not None
        seen = [json.loads(watch.stdout.readline()) for _ in range(2)]
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=SECONDS_MAX)
    assert watch.returncode == 130
    assert [each["rate"] for each in seen] == [None, 0.0]


def test_a_tenant_then_its_views_are_its_own_and_all_tenants_feeds_them_too(
    board: Command,
) -> None:
    """--tenant is another log with other rows; --all-tenants feeds every one."""
    board("append", "s", "t", "{}", "--tenant", "acme")
    fed = lines(board("projections", "run", "--once", "audit", "--all-tenants", "--json"))
    assert {each["tenant"]: each["position"] for each in fed[1:]} == {"acme": 1, "default": 8}
    row = board("projections", "show", "audit", "1", "--tenant", "acme", "--json")
    assert lines(row)[0]["value"]["stream"] == "s"


def test_memories_are_recalled_then_of_the_right_user_and_time_and_never_forgotten_ones(
    command: Command,
) -> None:
    """recall finds by meaning within user, type and time; a forgotten memory is not found; what the
    index lacks is told."""
    remembered = [
        ("food", "Ben eats fish and rice", "ben", "2026-01-10T12:00:00Z"),
        ("sea", "Ben spends his holidays by the sea", "ben", "2026-02-10T12:00:00Z"),
        ("meat", "Ann eats no meat", "ann", "2026-01-10T12:00:00Z"),
    ]
    for memory_id, content, user, time in remembered:
        event = {
            "type": "memory.remembered",
            "data": {"memory_id": memory_id, "content": content, "attributes": {"user": user}},
            "occurred_at": time,
        }
        ran = command("append", f"session/{user}", "-", stdin=json.dumps(event) + "\n")
        assert ran.returncode == 0, ran.stderr
    missing = command("recall", "food")
    assert (missing.returncode, "projections run" in missing.stderr) == (1, True)
    command("projections", "run", "--once", "memory_index")
    found = lines(command("recall", "what does Ben eat?", "--user", "ben", "--json"))
    assert [each["value"]["user"] for each in found] == ["ben", "ben"]
    assert found[0]["text"] == "Ben eats fish and rice"
    dated = ("--since", "2026-02-10", "--until", "2026-02-10")
    assert [each["key"][1] for each in lines(command("recall", "Ben", *dated, "--json"))] == ["sea"]
    shown = command("recall", "what does Ben eat?", "-k", "1").stdout
    assert re.search(r"^\d\.\d\d  Ben eats fish and rice\n +ben  2026-01-10 12:00:00Z", shown)

    command("append", "session/ben", "memory.forgotten", '{"memory_id": "food"}')
    behind = command("recall", "what does Ben eat?", "--user", "ben")
    assert "memory_index is 1 event behind" in behind.stderr
    command("projections", "run", "--once", "memory_index")
    left = lines(command("recall", "what does Ben eat?", "--user", "ben", "--json"))
    assert [each["key"][1] for each in left] == ["sea"]
    nobody = command("recall", "anything", "--user", "nobody")
    assert (nobody.returncode, nobody.stdout) == (0, "nothing is remembered that fits\n")
