"""The proxy for synchronous code: the same store, without a list of methods to keep in step."""

from __future__ import annotations

import inspect
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    Append,
    Conflict,
    EventStore,
    InvalidEvent,
    Misuse,
    NewEvent,
    StoreClosed,
    blocking,
)
from eventstore.testing import FixedClock, SequentialIds


def _notes(count: int) -> list[NewEvent]:
    return [NewEvent("note", {"n": n}) for n in range(1, count + 1)]


@pytest.fixture
def store() -> Iterator[Any]:
    with blocking.open("memory://", ids=SequentialIds(), clock=FixedClock()) as store:
        yield store


def test_awaited_methods_are_called_then_they_return(store: Any) -> None:
    """What is awaited in asynchronous code returns here, with the same arguments and values."""
    result = store.append("s", _notes(3), expected=0, idempotency_key="k", actor="ann")
    assert (result.version, result.events[0].actor) == (3, "ann")
    assert store.append_many([Append("t", _notes(1))])[0].position == 4
    assert (store.head(), store.version("s"), store.tenants()) == (4, 3, ["default"])
    assert store.lookup("s", "k").events == result.events
    assert store.event("event-000001") == result.events[0]
    assert store.verify().damages == ()


def test_errors_are_raised_then_they_are_those_of_the_store(store: Any) -> None:
    """An error crosses the thread as it is."""
    store.append("s", _notes(2))
    with pytest.raises(Conflict) as caught:
        store.append("s", _notes(1), expected=1)
    assert [event.version for event in caught.value.events] == [2]
    with pytest.raises(InvalidEvent):
        store.read("s", after=-1)
    with pytest.raises(AttributeError):
        store.nothing
    with pytest.raises(TypeError):
        iter(store)


def test_reads_are_iterated_then_they_are_plain_iterators(store: Any) -> None:
    """`for` where asynchronous code has `async for`, over any number of pages."""
    store.append("s", _notes(2_300))
    assert [event["n"] for event in store.read("s")] == list(range(1, 2_301))
    assert [event["n"] for event in store.read("s", limit=2).list()] == [1, 2]
    assert [len(page) for page in store.read_all().pages()] == [1_000, 1_000, 300]
    assert [info.name for info in store.streams()] == ["s"]
    assert list(store.caused_by("none")) == []
    read = store.read("s", limit=3)
    assert len(list(read)) == len(list(read)) == 3


def test_a_stream_is_forked_then_it_is_read_as_any_other(store: Any) -> None:
    """Forks are made, read in both directions and refused as in asynchronous code."""
    store.append("s", _notes(3))
    assert store.fork("s", "f", 2, idempotency_key="k").version == 3
    assert store.fork("s", "f", 2, idempotency_key="k").duplicate
    assert [event.version for event in store.read("f")] == [1, 2, 3]
    back = list(store.read("f", backwards=True, limit=2))
    assert [(event.version, event.stream) for event in back] == [(3, "f"), (2, "f")]
    with pytest.raises(Conflict):
        store.fork("s", "f", 2)


def test_a_subscription_is_iterated_then_it_waits_for_what_comes(store: Any) -> None:
    """`next` on a live subscription blocks until another thread appends."""
    store.append("s", _notes(1))
    events = iter(store.subscribe())
    assert next(events).position == 1
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, events)
        store.append("s", _notes(1))
        assert waiting.result(20).position == 2


def test_views_and_parts_are_taken_then_they_are_proxies_too(store: Any) -> None:
    """`bind` and `tenant` give stores, `checkpoints` and `snapshots` give their parts."""
    acme = store.tenant("acme").bind(actor="ann")
    assert acme.append("s", _notes(1)).events[0].actor == "ann"
    assert (acme.tenant_name, store.head(), acme.url) == ("acme", 0, "memory://")
    assert acme.checkpoints.save("reader", 1).position == 1
    lease = acme.checkpoints.acquire("work", "me")
    assert acme.checkpoints.renew(lease).fencing_token == lease.fencing_token
    assert acme.snapshots.list("s") == []
    assert "append" in dir(store)
    assert "EventStore" in repr(store)


def test_a_method_is_looked_at_then_it_has_its_name_and_documentation(store: Any) -> None:
    """The proxy shows what it stands for."""
    assert store.append.__name__ == "append"
    assert store.append.__doc__ == EventStore.append.__doc__
    assert inspect.signature(store.append) == inspect.signature(EventStore.append.__get__(object()))


def test_every_public_name_of_the_store_then_the_proxy_has_it(store: Any) -> None:
    """No list is kept, so nothing can be missing."""
    names = {name for name in dir(EventStore) if not name.startswith("_")}
    assert names <= set(dir(store))
    for name in names:
        assert getattr(store, name) is not None


def test_many_threads_append_at_once_then_each_is_answered(store: Any) -> None:
    """One proxy serves any number of threads."""
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: store.append(f"s/{n % 3}", _notes(2)), range(60)))
    assert sorted(r.position for r in results) == list(range(2, 121, 2))
    assert store.head() == 120


def test_the_store_is_closed_then_every_use_is_refused() -> None:
    """Closing drains, may be done twice, and ends the thread."""
    before = threading.active_count()
    store = blocking.open("memory://")
    store.append("s", _notes(3))
    view, read, live = store.tenant("acme"), store.read("s"), iter(store.subscribe())
    next(live)
    view.close()
    store.close()
    assert threading.active_count() == before
    for use in (store.head, lambda: list(read), lambda: store.checkpoints, lambda: view.url):
        with pytest.raises(StoreClosed):
            use()
    with pytest.raises(StoreClosed):
        list(itertools.islice(live, 3))


def test_a_reader_waits_while_the_store_is_closed_then_it_is_told() -> None:
    """Closing from one thread ends the waiting of another."""
    store = blocking.open("memory://")
    store.append("s", _notes(1))
    events = iter(store.subscribe())
    next(events)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, events)
        store.close()
        with pytest.raises(StoreClosed):
            waiting.result(20)


def test_opening_fails_then_nothing_stays_open(tmp_path: Path) -> None:
    """A store that could not be opened leaves no thread behind."""
    before = threading.active_count()
    with pytest.raises(InvalidEvent, match="URL"):
        blocking.open("nothing://x")
    assert threading.active_count() == before


def test_a_password_stands_in_the_url_then_no_error_shows_it() -> None:
    """The proxy's own messages name the kind of the store only."""
    background = blocking._Background("postgresql://me:secret@host/db")
    background.stop()
    with pytest.raises(StoreClosed) as caught:
        background.run(blocking._get, None, "x")
    assert "secret" not in str(caught.value)


def test_a_callback_of_the_store_uses_the_store_then_it_is_misuse(store: Any) -> None:
    """It would wait for itself for ever."""
    store.append("s", _notes(1))
    told: list[BaseException] = []

    def progress(done: int, of: int) -> None:
        with pytest.raises(Misuse) as caught:
            store.head()
        told.append(caught.value)

    store.verify(progress=progress)
    assert "hang" in str(told[0])


def test_an_iterator_is_given_up_then_the_store_goes_on(store: Any) -> None:
    """Breaking out of a loop ends the read behind it, without waiting."""
    store.append("s", _notes(2_000))
    for event in store.read_all():
        assert event.position == 1
        break
    assert store.append("s", _notes(1)).position == 2_001


_INTERRUPT = """
import os, signal, threading
from eventstore import NewEvent, blocking

with blocking.open("sqlite:///" + os.environ["STORE"]) as store:
    store.append("s", NewEvent("t", 1))
    events = iter(store.subscribe())
    next(events)
    waiting = threading.Event()

    def interrupt():
        waiting.wait()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        waiting.set()
        next(events)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    thread.join()
    print(store.append("s", NewEvent("t", 2)).position, flush=True)
    child = os.fork()
    if child == 0:
        try:
            store.head()
        except Exception as exc:
            print(type(exc).__name__, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
print("closed", flush=True)
"""

_LEFT_OPEN = """
import os
from eventstore import NewEvent, blocking

store = blocking.open("sqlite:///" + os.environ["STORE"])
print(store.append("s", NewEvent("t", 1)).position, flush=True)
events = iter(store.subscribe())
next(events)
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [(_INTERRUPT, ["interrupted", "2", "Misuse", "closed"]), (_LEFT_OPEN, ["1"])],
    ids=["interrupted_and_forked", "left_open"],
)
def test_a_program_is_interrupted_forked_or_ends_then_nothing_hangs(
    tmp_path: Path, program: str, said: list[str]
) -> None:
    """Ctrl-C gives the caller up and the store goes on; a fork is refused; an exit is an exit."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "STORE": str(tmp_path / "store.db")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == said, done.stderr
    assert done.returncode == 0, done.stderr
