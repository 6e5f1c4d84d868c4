"""What ``eventstore import`` leaves behind and suggests; what it imports is tested elsewhere."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.commands import import_
from cli.importers.importing import Options
from eventstore import EventStore
from tests.waiting import PATIENCE_SECONDS

from .conftest import Run

HELLO = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "good evening"}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "it is blue"}


def write(name: str, *messages: dict[str, Any]) -> str:
    """A file of chat messages."""
    Path(name).write_text(json.dumps(messages))
    return name


def suggested(out: str) -> dict[str, list[str]]:
    """The commands to paste, by their name, in words."""
    lines = [shlex.split(line) for line in out.splitlines() if line.startswith("  ")]
    return {words[1]: words[1:] for words in lines if words[0].endswith("eventstore")}


@pytest.mark.parametrize("content", ["hello\n", "", '{"a": 1}', "\x00\x01"])
def test_nothing_is_recognised_then_no_store_is_left(run: Run, content: str) -> None:
    """A mistyped path leaves no empty store that is taken for the real one later."""
    Path("notes.txt").write_text(content)
    ran = run("import", "notes.txt")
    assert ran.code == 3
    assert "notes.txt: not imported: " in ran.err
    assert ran.out.startswith("0 sessions")
    assert [path.name for path in Path().iterdir()] == ["notes.txt"]
    assert run("import", "notes.txt", "--json", "--tenant", "acme").code == 3
    assert [path.name for path in Path().iterdir()] == ["notes.txt"]


def test_id_for_several_sessions_then_no_store_is_left(run: Run) -> None:
    """Wrong usage writes nothing, and makes nothing either."""
    one, two = write("one.json", HELLO), write("two.json", HELLO, ANSWER)
    assert run("import", one, two, "--id", "x").code == 2
    assert not Path("eventstore.db").exists()


def test_nothing_is_recognised_then_a_store_that_is_there_stays(board: Run) -> None:
    """The store of before is as it was, and another file is imported into it."""
    Path("notes.txt").write_text("hello\n")
    assert board("import", "notes.txt").code == 3
    assert board("log", "board/7").out.count("\n") == 3
    assert board("import", "notes.txt", write("chat.json", HELLO), "--id", "x").code == 3
    assert board("log", "session/x").code == 0


def test_a_session_with_a_failed_call_then_the_diff_around_it(run: Run) -> None:
    """What went wrong is what one looks for first."""
    Path("rows.jsonl").write_text(
        "".join(
            json.dumps({"sessionId": "s1", "uuid": f"u{number}", "type": kind, "message": message})
            + "\n"
            for number, (kind, message) in enumerate(
                [
                    ("user", {"role": "user", "content": "look"}),
                    ("assistant", tool_use("t1")),
                    ("user", tool_result("t1", is_error=False)),
                    ("assistant", tool_use("t2")),
                    ("user", tool_result("t2", is_error=True)),
                ]
            )
        )
    )
    words = suggested(run("import", "rows.jsonl").out)["diff"]
    ran = run(*words)
    assert ran.code == 0
    assert '+ "failed"' in ran.out
    assert "/tool_calls/calls/t2/error" in ran.out
    assert "/conversation" not in ran.out


def tool_use(call: str) -> dict[str, Any]:
    """An assistant's message that asks for a tool."""
    part = {"type": "tool_use", "id": call, "name": "Read", "input": {"path": "x"}}
    return {"role": "assistant", "model": "m", "content": [part]}


def tool_result(call: str, *, is_error: bool) -> dict[str, Any]:
    """The message that answers it."""
    part = {"type": "tool_result", "tool_use_id": call, "content": "no", "is_error": is_error}
    return {"role": "user", "content": [part]}


def test_a_session_with_a_tool_call_then_the_diff_around_that(run: Run) -> None:
    """Without an error, a call and its answer are shown."""
    chat = write("chat.json", HELLO, CALLS, RESULT, ANSWER, HELLO, ANSWER)
    ran = run(*suggested(run("import", chat).out)["diff"])
    assert ran.code == 0
    assert "it is blue" in ran.out
    assert "good evening" not in ran.out


@pytest.mark.parametrize("pairs", [1, 30])
def test_a_session_of_words_then_its_end(run: Run, pairs: int) -> None:
    """Without tools the last messages are shown, no more than can be read."""
    chat = write("chat.json", *([HELLO, ANSWER] * pairs))
    ran = run(*suggested(run("import", chat).out)["diff"])
    assert ran.code == 0
    added = ran.out.count("/conversation/messages/")
    assert 1 <= added <= 10
    assert "good evening" in ran.out


def test_log_of_a_session_then_what_tools_were_asked_and_answered(run: Run) -> None:
    """A message that only names a call by its id is shown with what the call holds."""
    run("import", write("chat.json", HELLO, CALLS, RESULT, ANSWER), "--id", "x")
    messages = [line for line in run("log", "x").out.splitlines() if "message.added" in line]
    assert messages[1].endswith('assistant: look {"at":"sky"}')
    assert messages[2].endswith("tool: -> it is blue")
    assert 'assistant: look {"at":"sky"}' in run("log", "--reverse").out
    filtered = run("log", "--type", "message.added").out
    assert "tool: -> it is blue" in filtered
    state = run("state", "x").out
    assert '  assistant look {"at":"sky"}\n' in state
    assert "  tool      -> it is blue\n" in state
    assert "[tool_call" not in state + filtered


def test_imported_at_a_mistyped_database_then_refused_untouched(run: Run) -> None:
    """Somebody else's database gets no tables from an import or an append."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect("other.db")) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.commit()
    before = Path("other.db").read_bytes()
    chat = write("chat.json", HELLO)
    for command in (("import", chat), ("append", "s", "t"), ("demo",)):
        ran = run(*command, "--store", "other.db")
        assert ran.code == 1
        assert "holds no store: it has 'notes'" in ran.err
        assert "name another file" in ran.err
    assert Path("other.db").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["chat.json", "other.db"]


async def test_following_begins_then_what_it_imports_at_once_is_told_as_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes to ask for the log's head: it is asked for before the first import."""
    said: list[str] = []

    @contextmanager
    def status(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
        def say(text: str) -> None:
            said.append(text)
            if "2 new events" in text:
                signal.raise_signal(signal.SIGINT)

        yield say

    class Slow(EventStore):
        async def head(self) -> int:
            for _ in range(100):
                await self.version("nothing")
            return await super().head()

    chat = tmp_path / "chat.jsonl"
    chat.write_text(json.dumps(HELLO) + "\n")
    monkeypatch.setattr(import_, "status", status)
    async with EventStore.open(f"sqlite:///{tmp_path}/agent.db") as store:
        slow = Slow(store._core, "default", store._defaults)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await import_._follow(slow, [chat], Options(), quiet=False)
    assert said[0] == "following, nothing new yet; Ctrl-C ends it"
    assert said[-1].startswith("following, 2 new events, last session/chat-")
