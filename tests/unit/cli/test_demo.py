"""The demo tells what the log holds, and nothing else."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cli.commands.demo import play
from cli.demo.acting import Asked, Moment, Refused, Repeated, Written, mailbox_of, perform
from cli.demo.script import SCRIPT, Script
from cli.demo.telling import Telling
from cli.rendering.screen import Screen
from eventstore import EventStore, NewEvent
from reducers.agent import vocabulary

from .conftest import Run

STREAM = "session/offsite"


def told(script: Script, path: Path) -> str:
    """What the demo prints for a script, on a fresh file."""
    out = io.StringIO()
    asyncio.run(play((str(path), None), script, Screen(out), False))
    return out.getvalue().replace(str(path), "PATH")


async def performed(script: Script) -> tuple[list[Moment], list[Any], list[Any]]:
    """The moments of a script, and the events of its session and of its mailbox."""
    async with EventStore.open("memory://") as store:
        moments = [moment async for moment in perform(store, STREAM, script)]
        events = await store.read(STREAM).list()
        return moments, events, await store.read(mailbox_of("offsite")).list()


async def test_both_write_at_once_then_one_conflict_that_is_merged() -> None:
    """One append is refused with what was missed; decided again, neither change is lost."""
    moments, events, _ = await performed(SCRIPT)
    (refused,) = [moment for moment in moments if isinstance(moment, Refused)]
    missed = refused.conflict.events
    assert [event.version for event in missed] == [refused.conflict.actual]
    changed = [event for event in events if event.type == vocabulary.TASK_CHANGED]
    assert [sorted(event.data) for event in changed] == [
        ["task_id", "title"],
        ["status", "task_id"],
    ]
    assert {event.actor for event in changed} == {"ann", "ben"}
    assert changed[1].derived_from == (missed[0].id,)
    (message,) = [event for event in events if event.causation_id == missed[0].id]
    assert "ann changed the title" in message.data["content"]
    assert "is made as well" in message.data["content"]


async def test_both_change_the_same_field_then_the_second_is_told_no() -> None:
    """Where a merge would overwrite the other's words, it is not made, and the user hears it."""
    script = replace(SCRIPT, ben_changes={"task_id": "venue", "title": "Book a boat"})
    _, events, _ = await performed(script)
    assert sum(event.type == vocabulary.TASK_CHANGED for event in events) == 1
    assert any("is not made" in str(event.data.get("content")) for event in events)


@pytest.mark.parametrize("failures", [0, 1, 2])
async def test_tool_fails_then_the_mail_is_sent_once(failures: int) -> None:
    """However often the tool fails first, the log's key keeps the mail from going out twice."""
    moments, events, mails = await performed(replace(SCRIPT, mail_failures=failures))
    assert len(mails) == 1
    assert sum(event.type == vocabulary.TOOL_FAILED for event in events) == failures
    assert sum(event.type == vocabulary.TOOL_COMPLETED for event in events) == 1
    asked = [moment for moment in moments if isinstance(moment, Asked)]
    assert [moment.result is None for moment in asked] == [True] * (failures + 1) + [False]
    (repeated,) = [moment for moment in moments if isinstance(moment, Repeated)]
    assert repeated.result.duplicate


async def test_tool_never_works_then_no_mail_and_no_claim() -> None:
    """Nothing is called sent that was not."""
    moments, events, mails = await performed(replace(SCRIPT, mail_failures=9))
    assert mails == []
    assert not any(event.type == vocabulary.TOOL_COMPLETED for event in events)
    assert not any(isinstance(moment, Repeated) for moment in moments)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": "Plan the summer party"}, "Plan the summer party"),
        ({"request": "Plan a party in June"}, "Plan a party in June"),
        ({"preference": "I want no music"}, "I want no music"),
        ({"remembered": "Ben wants no music"}, "Ben wants no music"),
        ({"tasks": {"venue": "Rent a barn"}}, "venue: Rent a barn"),
        ({"ann_changes": {"task_id": "venue", "title": "Rent two barns"}}, "Rent two barns"),
        ({"ben_changes": {"task_id": "venue", "status": "completed"}}, '+ "completed"'),
        ({"mail_to": "owner@barn.example"}, "owner@barn.example"),
        ({"mail_text": "Is the barn free?"}, "Is the barn free?"),
        ({"mail_failures": 2}, "before attempt 4"),
        ({"deposit": "Pay 5 EUR"}, "Pay 5 EUR"),
        ({"correction": "Music is fine"}, "Music is fine"),
        ({"corrected": "Ben likes music"}, "Ben likes music"),
        ({"closing": "That is all"}, "That is all"),
        ({"session": "party"}, "session/party"),
    ],
)
def test_event_changed_then_what_is_told_changes(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """Every part of the script reaches the output through the log, and only so."""
    usual = told(SCRIPT, tmp_path / "usual.db")
    changed = told(replace(SCRIPT, **change), tmp_path / "changed.db")
    assert words in changed
    assert words not in usual


async def test_another_session_in_the_log_then_that_is_told() -> None:
    """The telling has no words of the script: it shows what the store gives back."""
    out = io.StringIO()
    async with EventStore.open("memory://") as store:
        events = [
            vocabulary.message_added(role="user", content="Something else"),
            vocabulary.task_added(task_id="x", title="Another task"),
            vocabulary.tool_requested(tool_call_id="c", tool_name="other_tool"),
        ]
        await store.append("session/else", events, actor="eve")
        await store.append(mailbox_of("else"), [NewEvent("mail.sent", {"n": n}) for n in range(2)])
        telling = Telling(Screen(out), store, "session/else")
        await telling.moment(Written())
        await telling.afterwards()
    shown = out.getvalue()
    for words in ("Something else", "Another task", "other_tool", "2 mails sent", "eve"):
        assert words in shown
    for words in ("off-site", "venue", "ann", "ben", "atlas", "conflict", "1 mail"):
        assert words not in shown


def test_played_twice_then_a_session_more(run: Run) -> None:
    """The file stays, and a second run stands beside the first."""
    assert "session/offsite at version" in run("demo").out
    assert "session/offsite-2 at version" in run("demo").out
    names = [
        json.loads(line)["stream"]
        for line in run(
            "streams", "session/", "--store", "eventstore-demo.db", "--json"
        ).out.splitlines()
    ]
    assert names == ["session/offsite", "session/offsite-2"]


def test_variable_names_a_real_store_then_not_played_in(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo heeds --store alone, so that no real log gets its events."""
    monkeypatch.setenv("EVENTSTORE_URL", "sqlite:///real.db")
    assert run("demo").code == 0
    assert not Path("real.db").exists()


def test_demo_json_then_the_events_it_wrote(run: Run) -> None:
    """--json gives the session's events, one a line."""
    events = [json.loads(line) for line in run("demo", "--json").out.splitlines()]
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "session.ended"


def test_demo_for_a_tenant_then_its_commands_name_it(run: Run) -> None:
    """The commands at the end work for the tenant that was played in."""
    out = run("demo", "--tenant", "acme").out
    assert out.count("--tenant acme") == 3
