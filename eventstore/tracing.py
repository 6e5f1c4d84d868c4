"""OpenTelemetry spans, for a program that has set a tracer provider up. Without one, nothing here
is in the way: the store that is opened is the plain one.

The library neither needs nor imports OpenTelemetry. A program that traces has imported it, so a
store looks for it where it is opened, once. Names and attributes follow OpenTelemetry's semantic
conventions for database clients; what is this store's own begins with ``eventstore.``. A span
holds the names of tenant, stream and reducer, counts, versions, positions and the class of an
error; never a payload, an idempotency key, a tag, an actor or the text of an error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .calls import Defaults
from .events import Append, AppendResult
from .points import Expected
from .query import AppendCondition
from .snapshots import Snapshot, Snapshots
from .store import EventStore
from .verify import KnownHead, VerifyReport

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from .store import _Core

_MODULE = "opentelemetry.trace"


class Spans:
    """Makes the spans of one store."""

    def __init__(self, trace: Any, tracer: Tracer, system: str) -> None:
        self._tracer = tracer
        self._system = system
        # As the conventions have it: a call into memory is not one of a client.
        self._kind = trace.SpanKind.INTERNAL if system == "memory" else trace.SpanKind.CLIENT
        self._failed = trace.StatusCode.ERROR

    @contextmanager
    def span(self, operation: str, tenant: str, **attributes: Any) -> Iterator[Span]:
        """The span of an operation, current while it runs; an error leaves its class behind."""
        said = {f"eventstore.{name}": value for name, value in attributes.items()}
        with self._tracer.start_as_current_span(
            operation,
            kind=self._kind,
            attributes={
                "db.system.name": self._system,
                "db.operation.name": operation,
                "db.namespace": tenant,
                **said,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as exc:
                span.set_attribute("error.type", type(exc).__name__)
                span.set_status(self._failed)
                raise


class TracedStore(EventStore):
    """An event store whose work is seen as spans."""

    def __init__(self, core: _Core, tenant: str, defaults: Defaults, spans: Spans) -> None:
        super().__init__(core, tenant, defaults)
        self.spans = spans

    # Signatures are written out: whoever looks at a store's methods finds the plain one's.

    async def append(
        self,
        stream: str,
        events: Sequence[Any] | Any,
        *,
        expected: Expected | int = Expected.ANY,
        idempotency_key: str | None = None,
        condition: AppendCondition | None = None,
        actor: str | None = None,
        causation_id: str | None = None,
        correlation_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> AppendResult:
        """See `EventStore.append`. If cancelled, its span ends there; the commit may go on."""
        with self.spans.span("append", self._tenant, stream=stream) as span:
            result = await super().append(
                stream,
                events,
                expected=expected,
                idempotency_key=idempotency_key,
                condition=condition,
                actor=actor,
                causation_id=causation_id,
                correlation_id=correlation_id,
                context=context,
            )
            _tell(
                span,
                events=len(result.events),
                version=result.version,
                position=result.position,
                duplicate=result.duplicate,
            )
        return result

    async def append_many(
        self, appends: Sequence[Append], *, idempotency_key: str | None = None
    ) -> list[AppendResult]:
        """See `EventStore.append_many`. If cancelled, its span ends there."""
        with self.spans.span("append_many", self._tenant) as span:
            results = await super().append_many(appends, idempotency_key=idempotency_key)
            if len(results) > 1:
                span.set_attribute("db.operation.batch.size", len(results))
            _tell(
                span,
                events=sum(len(result.events) for result in results),
                position=max(result.position for result in results),
                duplicate=results[0].duplicate,
            )
        return results

    async def lookup(self, stream: str, idempotency_key: str) -> AppendResult | None:
        """See `EventStore.lookup`. If cancelled, nothing is left open."""
        with self.spans.span("lookup", self._tenant, stream=stream) as span:
            result = await super().lookup(stream, idempotency_key)
            _tell(span, found=result is not None)
        return result

    async def verify(
        self,
        *,
        head: KnownHead | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> VerifyReport:
        """See `EventStore.verify`. If cancelled, nothing is left open."""
        with self.spans.span("verify", self._tenant) as span:
            report = await super().verify(head=head, progress=progress)
            _tell(span, events=report.events, damages=len(report.damages))
        return report

    @property
    def snapshots(self) -> Snapshots:
        """See `EventStore.snapshots`."""
        self._core.check()
        return TracedSnapshots(self._core.usable_engine, self._tenant, self.spans)

    def _view(self, tenant: str, defaults: Defaults) -> EventStore:
        return TracedStore(self._core, tenant, defaults, self.spans)


class TracedSnapshots(Snapshots):
    """Snapshots whose keeping is seen as spans."""

    def __init__(self, engine: Any, tenant: str, spans: Spans) -> None:
        super().__init__(engine, tenant)
        self._spans = spans

    async def save(self, stream: str, reducer: str, fingerprint: str, snapshot: Snapshot) -> bool:
        """See `Snapshots.save`. If cancelled, it may or may not be kept."""
        with self._spans.span(
            "save_snapshot",
            self._tenant,
            stream=stream,
            reducer=reducer,
            version=snapshot.version,
            state_bytes=len(snapshot.state),
        ) as span:
            kept = await super().save(stream, reducer, fingerprint, snapshot)
            _tell(span, kept=kept)
        return kept


def new_store(core: _Core, tenant: str, defaults: Defaults) -> EventStore:
    """The store on an open engine: traced where the program traces."""
    trace = sys.modules.get(_MODULE)
    # While another thread imports it, its names are not all there, and no provider is set up.
    if trace is not None and not getattr(trace.__spec__, "_initializing", False):
        provider = trace.get_tracer_provider()
        # Both stand for "none was set up"; their spans would be made for nothing.
        if not isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
            system = core.engine.url.partition(":")[0]
            spans = Spans(trace, provider.get_tracer("eventstore"), system)
            return TracedStore(core, tenant, defaults, spans)
    return EventStore(core, tenant, defaults)


@contextmanager
def load_span(store: EventStore, stream: str, reducer: str) -> Iterator[Span | None]:
    """The span of a load by a reducer; None for a store that is not traced."""
    if not isinstance(store, TracedStore):
        yield None
        return
    with store.spans.span("load", store.tenant_name, stream=stream, reducer=reducer) as span:
        yield span


def tell_loaded(span: Span, events: int, version: int, position: int) -> None:
    """What a load came to: the events it folded, and the point it reached."""
    _tell(span, events=events, version=version, position=position)


def _tell(span: Span, **attributes: Any) -> None:
    span.set_attributes({f"eventstore.{name}": value for name, value in attributes.items()})
