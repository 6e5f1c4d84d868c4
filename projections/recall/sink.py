"""The sink of a vector view: embeds texts before the transaction that rows and checkpoint share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventstore.outbox import Statement

from ..errors import ProjectionError
from ..projection import Key, key_text
from ..sinks import Build, Change, Row, Written
from .embedded import Embedded
from .embedding import vectors_of
from .following import Followers
from .keeping import KeptEmbeddings, identity_text
from .rows import Memory, askable_keys, key_of, memory_of, value_of
from .statements import embeddings_forgotten, listed, place_of, sql_of

if TYPE_CHECKING:
    from ..embedding import Embedder
    from .pgvector import Pgvector

_ASKED_KEYS = 500
"""Keys in one question."""

_SCANNED_ROWS = 500
"""Rows of a page when a view is compared."""

_DROPPED_ROWS = 2_000
"""Rows of one transaction when a generation goes: their words go too, about 50 ms."""


class VectorSink:
    """Rows in the store's own database, with their vectors; written in one transaction with the
    checkpoint."""

    def __init__(self, view: str, embedder: Embedder, index_folder: Path | None) -> None:
        self.view = view
        self.embedder = embedder
        self.identity = identity_text((embedder.name, embedder.version))
        self._embedded = Embedded(
            view, Followers(view, self.identity, embedder.dimensions, index_folder)
        )
        self._pgvector: Pgvector | None = None
        self._fed: dict[int, int] = {}
        # What the last page of each build computed and perhaps could not commit.
        self._recent: dict[str, dict[bytes, bytes]] = {}

    def place(self, build: Build) -> Embedded | Pgvector:
        """What does the work in the store's kind of database."""
        if build.outbox.dialect == "sqlite":
            return self._embedded
        if self._pgvector is None:
            from .pgvector import Pgvector

            self._pgvector = Pgvector(self.view, self.embedder.dimensions)
        return self._pgvector

    async def create(self, build: Build) -> Sequence[Statement]:
        """See `Sink`. Raises `ProjectionError` where the database lacks what it needs, and where
        another process has replaced the vectors that this one fed by another model's."""
        made = [Statement(text) for text in await self.place(build).create(build)]
        await self._refuse_going_back(build)
        return [*made, Statement(sql_of(build).place, ((*place_of(build), self.identity),))]

    async def write(self, build: Build, changes: Sequence[Change]) -> Written:
        """See `Sink`: texts are embedded here, the statements write. Raises `ProjectionError` for
        a row that is none or whose text the model refuses, `SinkUnavailable` where the model
        answers for no text."""
        if not changes:
            return Written()
        self._fed[build.tenant_id] = max(build.generation, self._fed.get(build.tenant_id, 0))
        last = {key_text(change.key): change for change in changes}
        gone = [(key, each.position) for key, each in last.items() if each.value is None]
        living = [each for each in last.values() if each.value is not None]
        memories = [memory_of(self.view, each) for each in living]
        vectors, kept, counts = await self._embed(build, [each.text for each in memories])
        rows = [
            (memory, hash_, vector, change.position)
            for memory, (hash_, vector), change in zip(memories, vectors, living, strict=True)
        ]
        forgotten = await self._forget(build, list(last), {hash_ for hash_, _ in vectors})
        statements = [
            *kept,
            *self.place(build).write(build, self.identity, rows, gone),
            *forgotten,
        ]
        size = sum([len(each.text) + len(each.metadata) + 100 for each in memories])
        size += sum([len(vector) for _, vector in vectors])
        return Written(statements, len(rows) + len(gone), size, *counts)

    async def find(self, build: Build, keys: Sequence[Key]) -> list[Row]:
        """See `Sink`. If cancelled, nothing is left open."""
        asked = askable_keys(keys)
        texts, found = list(asked), []
        for start in range(0, len(texts), _ASKED_KEYS):
            part = listed(build, texts[start : start + _ASKED_KEYS])
            rows = await build.outbox.query(sql_of(build).find, (build.tenant_id, part))
            found += [Row(asked[row[0]], value_of(*row[2:7]), row[7]) for row in rows]
        return found

    def shown(self, build: Build, key: Key, value: Any) -> dict[str, Any]:
        """A projection's value as `find` will give it once it is written."""
        memory = memory_of(self.view, Change(key, value, 0, 0))
        return value_of(*_columns(memory))

    async def scan(self, build: Build) -> AsyncIterator[list[Row]]:
        """See `Sink`. If cancelled, nothing is left open."""
        after = ""
        while True:
            args = (build.tenant_id, after, _SCANNED_ROWS)
            rows = await build.outbox.query(sql_of(build).scan, args)
            if rows:
                yield [Row(key_of(row[0], row[1]), value_of(*row[2:7]), row[7]) for row in rows]
            if len(rows) < _SCANNED_ROWS:
                return
            after = rows[-1][0]

    async def drop(self, build: Build) -> Sequence[Statement]:
        """See `Sink`: rows go in bounded transactions, so that it may be called again after it was
        cut short; the table goes with its last tenant. Vectors that were kept for their texts go
        with the last row that uses them."""
        outbox, sql, tenant = build.outbox, sql_of(build), build.tenant_id
        mine = await self._generations(build)
        embedder = mine.get(build.generation)
        if embedder is None:
            return []
        if outbox.dialect == "sqlite":
            await self._embedded.followers.forget(build)
        using = [number for number, each in mine.items() if each == embedder]
        while rows := await outbox.query(sql.some, (tenant, _DROPPED_ROWS)):
            labels = listed(build, [row[0] for row in rows])
            hashes = list({bytes(row[1]) for row in rows if row[1] is not None})
            gone = Statement(sql.delete_rows, ((tenant, labels),))
            unused = embeddings_forgotten(build, embedder, hashes, using)
            await outbox.change([gone, unused] if hashes else [gone])
        unplace = Statement(sql.unplace, (place_of(build),))
        tenants = await outbox.query(sql.tenants, (build.view, build.generation))
        if len(tenants) > 1:
            return [Statement(sql.delete_all, ((tenant,),)), unplace]
        return [*[Statement(text) for text in self.place(build).drop(build)], unplace]

    async def settle(self) -> None:
        """Waits for indexes that are being built and kept. If cancelled, that goes on."""
        await self._embedded.followers.settle()

    async def close(self) -> None:
        """See `Sink`: indexes that changed are kept on disk. If cancelled, call it again."""
        await self._embedded.followers.close()

    async def _embed(
        self, build: Build, texts: Sequence[str]
    ) -> tuple[list[tuple[bytes, bytes]], list[Statement], tuple[int, int]]:
        """(content hash, vector) of each text, what keeps those that were computed, and how many
        were computed and saved."""
        from ..embedding import CachedEmbedder, content_hash
        from ..embedding.units import to_bytes

        if not texts:
            return [], [], (0, 0)
        identity = (self.embedder.name, self.embedder.version)
        kept = KeptEmbeddings(build, identity, self._recent.get(build.incarnation, {}))
        embedder = CachedEmbedder(self.embedder, kept)
        try:
            vectors = await vectors_of(self.view, embedder, texts, self.embedder)
        except ProjectionError:  # also SinkUnavailable
            await kept.flush()
            raise
        self._recent[build.incarnation] = kept.computed
        if len(self._recent) > 1_000:  # builds of many tenants: the oldest page was committed
            del self._recent[next(iter(self._recent))]
        found = [
            (content_hash(text), to_bytes(row)) for text, row in zip(texts, vectors, strict=True)
        ]
        return found, kept.statements(), (embedder.computed, embedder.saved)

    async def _forget(self, build: Build, keys: Sequence[str], used: set[bytes]) -> list[Statement]:
        """What takes kept vectors away whose texts were replaced or deleted, and are nowhere
        else."""
        old: set[bytes] = set()
        for start in range(0, len(keys), _ASKED_KEYS):
            part = listed(build, keys[start : start + _ASKED_KEYS])
            rows = await build.outbox.query(sql_of(build).hashes, (build.tenant_id, part))
            old.update([bytes(row[0]) for row in rows])
        unused = sorted(old - used)
        if not unused:
            return []
        found = await self._generations(build)
        using = [number for number, each in found.items() if each == self.identity]
        return [embeddings_forgotten(build, self.identity, unused, using)]

    async def _generations(self, build: Build) -> dict[int, str]:
        """The tenant's generations of the view, each with its embedder."""
        question = sql_of(build).generations
        return dict(await build.outbox.query(question, (build.tenant_id, build.view)))

    async def _refuse_going_back(self, build: Build) -> None:
        """Two processes with two models would replace each other's generations for ever."""
        fed = self._fed.get(build.tenant_id)
        if fed is None:
            return
        for number, embedder in sorted((await self._generations(build)).items()):
            if fed < number < build.generation and embedder != self.identity:
                raise ProjectionError(
                    f"view {self.view!r}: {embedder} has replaced {self.identity}, which this"
                    " process embeds with"
                )


def _columns(memory: Memory) -> tuple[str, str | None, str | None, int | None, str]:
    return memory.text, memory.user, memory.type, memory.time_us, memory.metadata
