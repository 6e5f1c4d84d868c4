"""The view that a user declares: texts that are found again by what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eventstore.points import from_microseconds

from .. import asking
from ..errors import ProjectionError
from ..freshness import is_late
from ..projection import Projection
from ..sinks import Build
from ..view import View
from .embedding import vectors_of
from .found import Recalled, filters
from .searching import Question, Serving, check_count, look, serving_of
from .sink import VectorSink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..embedding import Embedder


class VectorView(View):
    """Texts with their vectors, in the store's own database, found by meaning and by words.

    A projection's value is a dict with a `text`, and if it likes a `user`, a `type` (texts), a
    `time` (an aware datetime) and further JSON fields. `embedder` turns texts into vectors: None is
    the small model of the extra ``[vector]``, "hashing" needs no model, anything else is an
    `Embedder` (see `projections.embedding`). Each distinct text is embedded once. Another embedder,
    or another version of it, gets a generation of its own, as another version of the code does.

    In SQLite vectors are searched in memory, by an index that follows the table; it is kept in
    `index_folder` (None: a folder beside the store's file). In PostgreSQL they are searched by
    pgvector. `options` are those of `View`. Raises `ProjectionError` for a bad declaration and
    `ExtraMissing` where a package is missing.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        embedder: Embedder | Literal["hashing"] | None = None,
        index_folder: Path | str | None = None,
        **options: Any,
    ) -> None:
        name = getattr(projection, "name", "?")
        folder = None if index_folder is None else Path(index_folder)
        sink = VectorSink(name, _embedder(name, embedder), folder)
        super().__init__(projection, sink, **options)
        self._vectors = sink
        self._tenant: Build | None = None

    @property
    def embedder(self) -> Embedder:
        """What turns its texts into vectors."""
        return self._vectors.embedder

    def fingerprint(self) -> str:
        """See `View`: the code and the embedder."""
        return f"{self.projection.fingerprint()} {self._vectors.identity}"

    def fits(self, version: int, fingerprint: str) -> bool:
        """See `View`: vectors of two embedders are not to be compared."""
        embedder = fingerprint.partition(" ")[2]
        return super().fits(version, fingerprint) and embedder == self._vectors.identity

    def bind(self, store: Any) -> VectorView:
        """See `View`."""
        bound = super().bind(store)
        bound._tenant = None
        return bound

    async def search(
        self,
        query: str | Sequence[float] | NDArray[Any],
        k: int = 10,
        *,
        user: str | None = None,
        type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        hybrid: bool = True,
        at_least: int | None = None,
        timeout_seconds: float = 5.0,
    ) -> Recalled:
        """The k rows (1 to 1,000) that come nearest to what is asked for, the best first; fewer
        where there are not as many.

        `query` is a text, or a vector of the embedder's length. `user` and `type` must be equal,
        `time` from `since` on and before `until` (a row without a time is then not found). A
        hybrid search brings the order by meaning and the order by shared words together; a vector
        has no words. `at_least` is a position that the answer waits for, `timeout_seconds` at most.
        Rows are answered as they stand: one that was deleted or replaced is never found as it was.

        Raises `ProjectionError` for a bad argument, `ViewStale` when the view is not there in time
        or is beyond its freshness budget (with `when_late` "raise" or "fold": a search cannot fold
        the log), `KeyParked` when the event at `at_least` stands in the dead letters,
        `ViewNotBuilt` when no generation of this embedder serves, `SinkUnavailable` when the model
        does not answer. If cancelled, nothing is left open.
        """
        wanted = filters(self.name, user, type, since, until)
        count = check_count(self.name, k)
        vector = await self._vector(query)
        serving = await self._serving(at_least, timeout_seconds)
        stale = await is_late(self, serving.build, serving.position)
        words = query if hybrid and isinstance(query, str) else None
        found = await look(self._vectors, serving, Question(vector, words, count, wanted))
        at = from_microseconds(serving.recorded_us) if serving.recorded_us else None
        return Recalled(found, max(serving.position, at_least or 0), at, stale)

    async def settle(self) -> None:
        """Waits for the index that is being built or written to disk in the background, as after
        the first search of many rows: for a program that ends soon, and would leave it to the next
        one. If cancelled, that goes on."""
        await self._vectors.settle()

    async def _vector(self, query: Any) -> Any:
        import numpy as np

        if isinstance(query, str):
            return (await vectors_of(self.name, self.embedder, [query]))[0]
        dimensions = self.embedder.dimensions
        try:
            vector = np.asarray(query, dtype=np.float32)
        except (TypeError, ValueError):
            vector = np.zeros(0, dtype=np.float32)
        if vector.shape != (dimensions,) or not np.isfinite(vector).all():
            raise ProjectionError(
                f"view {self.name!r}: a query is a text or a vector of {dimensions} finite numbers"
            )
        length = float(np.linalg.norm(vector.astype(np.float64)))
        return vector / np.float32(length) if length else vector

    async def _serving(self, at_least: int | None, timeout_seconds: float) -> Serving:
        if at_least is not None and (type(at_least) is not int or at_least < 0):
            raise ProjectionError(f"view {self.name!r}: at_least is a position, an int from 0 on")
        if at_least:
            self._tenant = await asking.wait_for(self, at_least, timeout_seconds)
        elif self._tenant is None:
            self._tenant = (await asking.serving(self))[0]
        return await serving_of(self._vectors, self._tenant)


def _embedder(view: str, embedder: Any) -> Embedder:
    from ..embedding import HashingEmbedder, WordLlamaEmbedder

    if embedder is None:
        return WordLlamaEmbedder()
    if embedder == "hashing":
        return HashingEmbedder()
    if not callable(getattr(embedder, "embed", None)):
        raise ProjectionError(f"view {view!r}: embedder is an Embedder, 'hashing' or None")
    given: Embedder = embedder  # as far as can be seen
    return given
