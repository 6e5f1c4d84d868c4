"""Spans, as OpenTelemetry's own in-memory exporter collects them."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import opentelemetry.trace
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from eventstore import Append, Conflict, EventStore, IdempotencyMismatch, NewEvent, Version
from eventstore.snapshots import Snapshots
from eventstore.tracing import TracedSnapshots, TracedStore
from reducers import Reducer, take_snapshot

SECRETS = ("secret-payload", "secret-key", "secret-tag", "secret-actor", "secret-context")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What a program's provider collects. It is set up for this test alone: the API lets a process
    set one for good."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(opentelemetry.trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def _said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_events_are_appended_then_a_span_says_where_and_how_many(
    spans: InMemorySpanExporter,
) -> None:
    """Names and attributes are those of the conventions for databases, and the store's own."""
    async with EventStore.open("memory://") as store:
        await store.append("s", [NewEvent("t", 1), NewEvent("t", 2)])
        (span,) = spans.get_finished_spans()
        assert (span.name, span.kind) == ("append", opentelemetry.trace.SpanKind.INTERNAL)
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.name == "eventstore"
        assert _said(span) == {
            "db.system.name": "memory",
            "db.operation.name": "append",
            "db.namespace": "default",
            "eventstore.stream": "s",
            "eventstore.events": 2,
            "eventstore.version": 2,
            "eventstore.position": 2,
            "eventstore.duplicate": False,
        }
        assert span.status.is_unset


async def test_a_file_is_written_then_its_spans_are_a_clients(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    """The kind and the system are the engine's; no path stands in a span."""
    async with EventStore.open(f"sqlite:///{tmp_path}/traced.db") as store:
        await store.append("s", NewEvent("t", 1))
    (span,) = spans.get_finished_spans()
    assert span.kind is opentelemetry.trace.SpanKind.CLIENT
    assert _said(span)["db.system.name"] == "sqlite"
    assert "traced.db" not in span.to_json()


async def test_a_store_is_bound_or_another_tenants_then_its_work_is_traced_as_well(
    spans: InMemorySpanExporter,
) -> None:
    """Views of a traced store are traced; the tenant is the namespace."""
    async with EventStore.open("memory://") as store:
        acme = store.bind(actor="ann").tenant("acme")
        await acme.append_many([Append("a", [NewEvent("t", 1)]), Append("b", [])])
        await acme.lookup("a", "k")
        await acme.verify()
    many, lookup, verify = spans.get_finished_spans()
    assert [span.name for span in (many, lookup, verify)] == ["append_many", "lookup", "verify"]
    assert {_said(span)["db.namespace"] for span in (many, lookup, verify)} == {"acme"}
    assert _said(many)["db.operation.batch.size"] == 2
    assert _said(many)["eventstore.events"] == 1
    assert _said(lookup)["eventstore.found"] is False
    assert _said(verify)["eventstore.damages"] == 0


async def test_a_state_is_loaded_then_its_span_says_what_was_folded_and_holds_the_others(
    spans: InMemorySpanExporter,
) -> None:
    """A snapshot that a load keeps is a span inside it."""
    reducer: Reducer[int] = Reducer("sum", initial=0, snapshot_every=2)

    @reducer.on("t")
    def add(state: int, event: Any) -> int:
        return state + int(event.data)

    async with EventStore.open("memory://") as store:
        await store.append("s", [NewEvent("t", n) for n in range(3)])
        spans.clear()
        assert (await reducer.load(store, "s")).state == 3
        kept, load = spans.get_finished_spans()
        assert (kept.name, load.name) == ("save_snapshot", "load")
        assert kept.parent == load.context
        assert _said(kept)["eventstore.kept"] is True
        assert (_said(load)["eventstore.reducer"], _said(load)["eventstore.events"]) == ("sum", 3)
        spans.clear()
        assert (await reducer.load(store, "s", at=Version(3))).state == 3
        await take_snapshot(reducer, store, "s")
        first = spans.get_finished_spans()[0]
        assert (_said(first)["eventstore.events"], _said(first)["eventstore.version"]) == (0, 3)


async def test_an_append_is_refused_then_its_span_bears_the_error_and_no_secret(
    spans: InMemorySpanExporter,
) -> None:
    """The class of the error, and neither its text nor anything that was appended."""
    payload, key, tag, actor, context = SECRETS
    async with EventStore.open("memory://") as store:

        async def append(data: Any, **options: Any) -> None:
            event = NewEvent("t", data, tags=[tag])
            await store.append("s", event, actor=actor, context={"c": context}, **options)

        await append(payload, idempotency_key=key)
        with pytest.raises(IdempotencyMismatch):
            await append("other", idempotency_key=key)
        with pytest.raises(Conflict):
            await append(payload, expected=0)
        written, mismatch, conflict = spans.get_finished_spans()
        assert _said(mismatch)["error.type"] == "IdempotencyMismatch"
        assert _said(conflict)["error.type"] == "Conflict"
        assert not mismatch.status.is_ok
        assert not mismatch.status.is_unset
        assert mismatch.events == ()
        for span in (written, mismatch, conflict):
            assert [secret for secret in SECRETS if secret in span.to_json()] == []


async def test_an_append_is_cancelled_then_its_span_ends_there(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    """The span is the caller's, and says why it ended."""
    async with EventStore.open(f"sqlite:///{tmp_path}/traced.db") as store:
        task = asyncio.create_task(store.append("s", NewEvent("t", 1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (span,) = spans.get_finished_spans()
        assert _said(span)["error.type"] == "CancelledError"


async def test_no_provider_is_set_up_then_the_store_is_the_plain_one() -> None:
    """The API alone changes nothing: not a check, not a call."""
    async with EventStore.open("memory://") as store:
        assert type(store) is EventStore
        assert not isinstance(store.bind(actor="a").tenant("t"), TracedStore)


def test_a_program_does_not_trace_then_nothing_of_opentelemetry_is_imported() -> None:
    """Installed or not: it is looked for among what the program has imported."""
    program = (
        "import asyncio, sys, eventstore, reducers\n"
        "async def main():\n"
        "    async with eventstore.EventStore.open('memory://') as store:\n"
        "        await store.append('s', eventstore.NewEvent('t', 1))\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("traced", "plain"), [(TracedStore, EventStore), (TracedSnapshots, Snapshots)]
)
def test_a_traced_method_is_looked_at_then_its_signature_is_the_plain_ones(
    traced: type, plain: type
) -> None:
    """Editors, command builders and checks that ask for the arguments are told all of them."""
    shared = [name for name in vars(traced) if callable(getattr(plain, name, None))]
    methods = [name for name in shared if not name.startswith("_")]
    assert methods
    for name in methods:
        found = inspect.signature(getattr(traced, name))
        assert found == inspect.signature(getattr(plain, name)), name


def test_another_thread_is_importing_opentelemetry_then_the_store_is_the_plain_one() -> None:
    """Its module is there by then, and half of its names: no provider is set up with it yet."""
    program = """
import asyncio, sys, threading
import eventstore

halfway, go_on = threading.Event(), threading.Event()

class Waits:
    def find_spec(self, name, path=None, target=None):
        if name == "opentelemetry.context":  # which opentelemetry.trace imports as it begins
            halfway.set()
            go_on.wait(30)

async def main():
    async with eventstore.EventStore.open("memory://") as store:
        print("opentelemetry.trace" in sys.modules, type(store).__name__)

asyncio.run(main())  # what a store imports where it is first opened is there afterwards
sys.meta_path.insert(0, Waits())
importing = threading.Thread(target=__import__, args=("opentelemetry.trace",))
importing.start()
halfway.wait(30)
try:
    asyncio.run(main())
finally:
    go_on.set()
importing.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("False EventStore\nTrue EventStore\n", "")
