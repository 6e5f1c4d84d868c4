"""verify holds a fork against its parent: what a faulty writer may have put into a sound log."""

from __future__ import annotations

import msgspec
import pytest

from eventstore import Append, EventStore, NewEvent
from eventstore.calls import NO_DEFAULTS, Call, Fork, Written, prepare_fork
from eventstore.testing import SequentialIds


def begun(stream: str, fork: Fork, cause: str | None) -> Call:
    """The call that begins a fork, by whatever event."""
    append = Append(stream, [], causation_id=cause)
    return prepare_fork("default", append, fork, None, NO_DEFAULTS, SequentialIds("made"))


async def commit(store: EventStore, call: Call) -> None:
    assert isinstance(await store._core.engine.commit(call), Written)


async def filled(store: EventStore) -> None:
    await store.append("s", [NewEvent("n", n, id=f"s{n}") for n in (1, 2, 3)])
    await store.append("other", NewEvent("n", 4, id="other1"))
    await store.fork("s", "sound", 2)


@pytest.mark.parametrize("cause", ["s1", "s3", "other1", "nobody", None])
async def test_a_fork_names_another_cause_then_verify_says_so(cause: str | None) -> None:
    """A fork is caused by the last event that it inherits, and by no other one."""
    async with EventStore.open("memory://", ids=SequentialIds()) as store:
        await filled(store)
        await commit(store, begun("f", Fork("s", 2), cause))
        (damage,) = (await store.verify()).damages
    assert (damage.kind, damage.stream, damage.version, damage.position) == ("fork", "f", 3, 6)
    assert "its cause" in damage.message


async def test_the_event_stands_inside_a_stream_then_verify_says_so() -> None:
    """A stream begins as another one once, and with its first event."""
    async with EventStore.open("memory://", ids=SequentialIds()) as store:
        await filled(store)
        again = begun("other", Fork("s", 2), "s2")
        again.appends[0].fork = None
        again.appends[0].expected = 1
        await commit(store, again)
        (damage,) = (await store.verify()).damages
    assert (damage.kind, damage.stream, damage.version, damage.position) == ("fork", "other", 2, 6)
    assert "has begun" in damage.message


@pytest.mark.parametrize("payload", [b"{}", b'{"stream":"s"}', b'{"stream":1,"version":2}', b"7"])
async def test_the_event_does_not_say_its_parent_then_verify_says_so(payload: bytes) -> None:
    """What the event should say, and does not, is damage and no other error."""
    async with EventStore.open("memory://", ids=SequentialIds()) as store:
        await filled(store)
        mute = begun("f", Fork("s", 2), "s2")
        (event,) = mute.appends[0].events
        mute.appends[0].events = [msgspec.structs.replace(event, payload=payload)]
        await commit(store, mute)
        (damage,) = (await store.verify()).damages
    assert (damage.kind, damage.stream, damage.position) == ("fork", "f", 6)


async def test_an_event_comes_of_a_fork_of_a_fork_then_the_log_is_sound() -> None:
    """The cause of a nested fork stands in the stream that holds the version itself."""
    async with EventStore.open("memory://") as store:
        await filled(store)
        await store.append("sound", NewEvent("n", 5))
        await store.fork("sound", "own part", 4)
        await store.fork("own part", "inherited part", 1)
        assert (await store.verify()).damages == ()
