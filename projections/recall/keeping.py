"""Vectors of texts that were embedded before, in the store's table `embeddings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventstore.outbox import Statement

from ..sinks import Build
from .statements import embeddings_found, sql_of

_ASKED = 500
"""Hashes in one question: their vectors are half a megabyte with 256 dimensions."""


class KeptEmbeddings:
    """The cache of one page. What the model computed is kept with the page itself where it was one
    batch, as it is while a view is live; of several, all but the last are kept at once, so that a
    model that fails in the middle costs one batch. `recent` are vectors that a page before this one
    computed and perhaps could not commit."""

    def __init__(
        self, build: Build, identity: tuple[str, str], recent: Mapping[bytes, bytes]
    ) -> None:
        self.identity = identity
        self.computed: dict[bytes, bytes] = {}
        self._build = build
        self._recent = recent
        self._waiting: dict[bytes, bytes] = {}

    @property
    def name(self) -> str:
        """What the vectors are kept under."""
        return identity_text(self.identity)

    async def find(self, hashes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """See `EmbeddingCache`."""
        found = {each: self._recent[each] for each in hashes if each in self._recent}
        self._waiting.update(found)  # nobody knows whether they were committed
        self.computed.update(found)
        outbox, tenant = self._build.outbox, self._build.tenant_id
        missing = [each for each in hashes if each not in found]
        for start in range(0, len(missing), _ASKED):
            part = missing[start : start + _ASKED]
            asked = tuple(part) if outbox.dialect == "sqlite" else (part,)
            question = embeddings_found(self._build, len(part))
            for hash_, vector in await outbox.query(question, (tenant, self.name, *asked)):
                found[bytes(hash_)] = bytes(vector)
        return found

    async def keep(self, vectors: Mapping[bytes, bytes]) -> None:
        """See `EmbeddingCache`."""
        await self.flush()
        self._waiting = dict(vectors)
        self.computed.update(vectors)

    async def flush(self) -> None:
        """Keeps what waits, by itself. If cancelled, it may be kept."""
        if self._waiting:
            await self._build.outbox.change(self.statements())
            self._waiting = {}

    def statements(self) -> list[Statement]:
        """What keeps the vectors that wait."""
        if not self._waiting:
            return []
        tenant, name = self._build.tenant_id, self.name
        rows = [(tenant, name, hash_, vector) for hash_, vector in self._waiting.items()]
        return [Statement(sql_of(self._build).keep, rows)]


def identity_text(identity: tuple[str, str]) -> str:
    """An embedder's name and version, as one text."""
    return "@".join(identity)
