"""Whether a handler may see its event's stream."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eventstore import EventStore, NewEvent
from reducers import Reducer
from reducers.agent import agent

SOURCE = """
import json
import msgspec
import sighted_helper
from eventstore.events import RecordedEvent
from reducers import Reducer
from reducers.reducer import Handler

def number(event, times=1):
    return event["n"] * times

def printed(event):
    return f"{event}"

def given_on(event):
    return number(event=event)

class Rules:
    def added(self, state, event):
        return state + event.data["n"]

    def shown(self, state, event):
        return state + len(str(event))

    def __call__(self, state, event):
        return state + event.version

def matched(state, event):
    match event:
        case RecordedEvent(stream=name):
            return name
    return state

def renamed(state, event):
    other = event
    return other

def kept(state, event):
    return [lambda: event]

def shadowed(state, event):
    number = str
    return number(event)

def make(function):
    reducer = Reducer("r", "", snapshot_every=2)
    reducer.handlers["n"] = Handler(function, None)
    return reducer
"""

HELPER = """
def name(event):
    return event.stream

def kind(event):
    return event.type
"""

HIDDEN = (
    "lambda s, e: s",
    "lambda s, e: e.data['n'] + e.version",
    "lambda s, e: e['n']",
    "lambda s, e: number(e, 2)",
    "lambda s, e: number(event=e)",
    "lambda s, e: given_on(e)",
    "lambda s, e: sighted_helper.kind(e)",
    "lambda s, e: [e.id for each in e['items']]",
    "Rules().added",
    "Rules()",
)
SEEN = (
    "matched",
    "lambda s, e: str(e)",
    "lambda s, e: f'{e}'",
    "lambda s, e: '%s' % e",
    "lambda s, e: printed(e)",
    "lambda s, e: msgspec.json.encode(e)",
    "lambda s, e: e.__reduce__()[1][1]",
    "lambda s, e: sighted_helper.name(e)",
    "lambda s, e: e.untyped().data",
    "lambda s, e: locals()['e'].type",
    "lambda s, e: s(*[e])",
    "lambda *given: given[1].type",
    "Rules().shown",
    "renamed",
    "kept",
    "shadowed",
)


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    """The source above, with a helper beside it."""
    made: list[str] = []
    for name, source in (("sighted_helper", HELPER), ("sighted_handlers", SOURCE)):
        lines = [f"H{i} = {text}" for i, text in enumerate((*HIDDEN, *SEEN))]
        text = source if name == "sighted_helper" else "\n".join([source, *lines])
        (tmp_path / f"{name}.py").write_text(text)
        spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        made.append(name)
        spec.loader.exec_module(sys.modules[name])
    yield sys.modules["sighted_handlers"]
    for name in made:
        del sys.modules[name]


def made(module: ModuleType, number: int) -> Reducer[Any]:
    make: Callable[[Any], Reducer[Any]] = module.make
    return make(getattr(module, f"H{number}"))


@pytest.mark.parametrize("number", range(len(HIDDEN)), ids=HIDDEN)
def test_parts_of_the_event_are_taken_then_its_stream_is_not_seen(
    module: ModuleType, number: int
) -> None:
    """What takes other parts of an event, or has them taken, begins with its parent's state."""
    assert not made(module, number).sees_streams()


@pytest.mark.parametrize("number", range(len(SEEN)), ids=SEEN)
def test_the_event_itself_is_used_then_its_stream_may_be_seen(
    module: ModuleType, number: int
) -> None:
    """Where it cannot be told whether a handler looks at the stream's name, it may."""
    assert made(module, len(HIDDEN) + number).sees_streams()


async def test_the_stream_is_matched_then_a_fork_is_loaded_as_it_folds(
    store: EventStore, module: ModuleType
) -> None:
    """A state that holds the stream's name is the fork's own."""
    reducer = made(module, len(HIDDEN) + SEEN.index("matched"))
    await store.append("s", [NewEvent("n", {})] * 5)
    await reducer.load(store, "s")
    assert await store.snapshots.list("s")
    await store.fork("s", "f", 5)
    assert (await reducer.load(store, "f")).state == "f"


@pytest.mark.parametrize("part", [*agent.parts.values(), agent], ids=lambda part: part.name)
def test_a_reducer_comes_with_the_library_then_its_forks_begin_with_its_snapshots(
    part: Reducer[Any],
) -> None:
    """No reducer of a session looks at the name of the stream."""
    assert not part.sees_streams()
