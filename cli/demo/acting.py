"""The demo's story, done through the public API: appends, a conflict, a retry under one key.

`perform` yields what the API gave back, as it comes; showing it is the business of `telling`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from eventstore import AppendResult, Conflict, EventStore, Expected, NewEvent, RecordedEvent
from reducers.agent import agent, vocabulary

from .script import AGENT, ANN, BEN, Script

MAIL_TOOL = "send_mail"
MAIL_CALL = "mail-1"
MAIL_KEY = "mail-to-venue"
MAIL_ATTEMPTS = 4
"""The last one comes when the mail is long sent: an agent that was restarted, and asks first."""


class Written(msgspec.Struct, frozen=True):
    """Something was appended; the log says what."""


class Refused(msgspec.Struct, frozen=True):
    """An append met a conflict. `actor` is whose append it was."""

    actor: str
    conflict: Conflict


class Asked(msgspec.Struct, frozen=True):
    """The log was asked what stands under an idempotency key, before the `attempt`."""

    key: str
    attempt: int
    result: AppendResult | None


class Repeated(msgspec.Struct, frozen=True):
    """The same append was sent again under its key, and this is the answer."""

    key: str
    result: AppendResult


Moment = Written | Refused | Asked | Repeated


class PostOffice:
    """The world outside: it fails a number of times, then sends. What it sends it writes into a
    stream of its own, so that everybody can count."""

    def __init__(self, store: EventStore, mailbox: str, failures: int) -> None:
        self._store = store
        self._mailbox = mailbox
        self._failures = failures

    async def send(self, mail: dict[str, Any]) -> None:
        """Sends a mail. Raises `ConnectionError` when the line is dead: then nothing was sent."""
        if self._failures:
            self._failures -= 1
            raise ConnectionError("the mail server hung up")
        await self._store.append(self._mailbox, [NewEvent("mail.sent", mail)], actor="post-office")


def mailbox_of(session: str) -> str:
    """The stream that the post office writes for a session."""
    return f"mailbox/{session}"


async def perform(store: EventStore, stream: str, script: Script) -> AsyncIterator[Moment]:
    """Plays the script into a stream that does not exist yet, and yields each moment."""
    await _open_session(store, stream, script)
    yield Written()
    async for moment in _change_at_once(store, stream, script):
        yield moment
    async for moment in _send_mail(store, stream, script):
        yield moment
    await _agree(store, stream, script)
    yield Written()
    await _correct(store, stream, script)
    yield Written()


async def _open_session(store: EventStore, stream: str, script: Script) -> None:
    """Ann asks, Ben adds what matters to him, the agent remembers it and makes a plan."""
    await store.append(
        stream,
        [
            vocabulary.session_started(title=script.title, agent_name=AGENT),
            vocabulary.message_added(role="user", content=script.request, name=ANN),
        ],
        expected=Expected.NO_STREAM,
        actor=ANN,
    )
    wish = vocabulary.message_added(role="user", content=script.preference, name=BEN)
    heard = (await store.append(stream, [wish], actor=BEN)).events[-1]
    remembered = vocabulary.memory_remembered(
        memory_id=script.memory_id, content=script.remembered, causation_id=heard.id
    )
    plan = [
        vocabulary.task_added(task_id=task_id, title=title)
        for task_id, title in script.tasks.items()
    ]
    await store.append(stream, [remembered, *plan], actor=AGENT)


async def _change_at_once(store: EventStore, stream: str, script: Script) -> AsyncIterator[Moment]:
    """Both users look at the same version and both write: one is first, the other is told what
    was missed, and decides again."""
    seen = (await agent.load(store, stream)).version
    wanted = {ANN: script.ann_changes, BEN: script.ben_changes}
    answers = await asyncio.gather(
        *(_change(store.bind(actor=user), stream, wanted[user], seen) for user in wanted),
        return_exceptions=True,
    )
    yield Written()
    for user, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, Conflict):
            yield Refused(user, answer)
            await _decide_again(store, stream, user, wanted[user], answer)
            yield Written()
        elif isinstance(answer, BaseException):
            raise answer


async def _change(
    store: EventStore,
    stream: str,
    changes: dict[str, Any],
    expected: int,
    derived_from: tuple[str, ...] = (),
) -> AppendResult:
    event = vocabulary.task_changed(**changes, derived_from=derived_from)
    return await store.append(stream, [event], expected=expected)


async def _decide_again(
    store: EventStore, stream: str, user: str, changes: dict[str, Any], conflict: Conflict
) -> None:
    """Writes the user's change on top of what was missed, unless both changed the same field;
    either way the agent tells the user."""
    taken = _fields_changed(conflict.events, changes["task_id"]) & _field_names(changes)
    if taken:
        outcome = f"Your change is not made, because it is the same {_words(taken)}"
    else:
        missed = tuple(event.id for event in conflict.events)
        await _change(store.bind(actor=user), stream, changes, conflict.actual, missed)
        outcome = f"Your change of the {_words(_field_names(changes))} is made as well"
    others = _words({event.actor or "somebody" for event in conflict.events})
    theirs = _words(_fields_changed(conflict.events, changes["task_id"]))
    told = vocabulary.message_added(
        role="assistant",
        content=f"{user.capitalize()}, while you were writing, {others} changed the {theirs}"
        f" of {changes['task_id']!r}. {outcome}.",
        causation_id=conflict.events[-1].id,
    )
    await store.append(stream, [told], actor=AGENT)


def _fields_changed(events: tuple[RecordedEvent, ...], task_id: str) -> set[str]:
    """Which fields of a task the missed events changed."""
    fields: set[str] = set()
    for event in events:
        data = event.untyped().data
        if event.type == vocabulary.TASK_CHANGED and data["task_id"] == task_id:
            fields |= _field_names(data)
    return fields


def _field_names(changes: dict[str, Any]) -> set[str]:
    return set(changes) - {"task_id"}


def _words(names: set[str]) -> str:
    return " and ".join(sorted(names))


async def _send_mail(store: EventStore, stream: str, script: Script) -> AsyncIterator[Moment]:
    """The agent sends a mail through a tool that fails at first. Every attempt asks the log
    before it acts, and the answer is written under one key."""
    work = store.bind(actor=AGENT)
    session = stream.removeprefix("session/")
    post_office = PostOffice(store, mailbox_of(session), script.mail_failures)
    mail = {"to": script.mail_to, "text": script.mail_text}
    done = vocabulary.tool_completed(
        tool_call_id=MAIL_CALL, tool_name=MAIL_TOOL, tool_call_result={"sent_to": script.mail_to}
    )
    for attempt in range(1, MAIL_ATTEMPTS + 1):
        found = await work.lookup(stream, MAIL_KEY)
        yield Asked(MAIL_KEY, attempt, found)
        if found is not None:
            yield Repeated(MAIL_KEY, await work.append(stream, [done], idempotency_key=MAIL_KEY))
            break
        await work.append(stream, [_mail_request(mail)])
        try:
            await post_office.send(mail)
        except ConnectionError as error:
            await work.append(stream, [_mail_failure(error)])
        else:
            await work.append(stream, [done], idempotency_key=MAIL_KEY)
        yield Written()


def _mail_request(mail: dict[str, Any]) -> NewEvent:
    return vocabulary.tool_requested(
        tool_call_id=MAIL_CALL, tool_name=MAIL_TOOL, tool_call_arguments=mail, requestor="assistant"
    )


def _mail_failure(error: ConnectionError) -> NewEvent:
    return vocabulary.tool_failed(
        tool_call_id=MAIL_CALL,
        tool_name=MAIL_TOOL,
        error_type=type(error).__name__,
        message=str(error),
    )


async def _agree(store: EventStore, stream: str, script: Script) -> None:
    """The agent asks before it spends money; Ann says yes."""
    asked = vocabulary.approval_requested(approval_id="deposit", subject=script.deposit)
    await store.append(stream, [asked], actor=AGENT)
    await store.append(stream, [vocabulary.approval_granted(approval_id="deposit")], actor=ANN)


async def _correct(store: EventStore, stream: str, script: Script) -> None:
    """Ben corrects what the agent remembers, and the agent closes."""
    word = vocabulary.message_added(role="user", content=script.correction, name=BEN)
    heard = (await store.append(stream, [word], actor=BEN)).events[-1]
    await store.append(
        stream,
        [
            vocabulary.memory_corrected(
                memory_id=script.memory_id, content=script.corrected, causation_id=heard.id
            ),
            vocabulary.message_added(role="assistant", content=script.closing),
            vocabulary.session_ended(reason="planned"),
        ],
        actor=AGENT,
    )
