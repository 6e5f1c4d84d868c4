"""Embedders whose model runs in this process: wordllama, and sentence-transformers.

Both libraries are imported, and their weights loaded, when the first text comes, in a thread. The
texts never leave the machine.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .extras import load, missing_extra
from .port import readable
from .units import unit_rows

if TYPE_CHECKING:
    from .port import Vectors

_PADDED_CHARS_MAX = 131_072
"""wordllama pads the texts of a call to the longest: this many characters are about 32 k tokens,
whose vectors take 32 MB. Unbounded, 64 texts of which one is long would take a gigabyte."""


class _Local:
    """A model in this process: loaded once, whoever asks first, and used in threads."""

    name: str
    version: str
    dimensions: int
    batch_max: int

    def __init__(self) -> None:
        self._model: Any = None
        self._loading = threading.Lock()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The texts' vectors, as `Embedder.embed` says; cancelling loses only this computation.

        The first call loads the model. Raises `ExtraMissing` when its library is not installed.
        """
        taken = readable(texts, self.batch_max)
        return await asyncio.to_thread(self._vectors, taken)

    def _vectors(self, texts: list[str]) -> Vectors:
        if not texts:
            rows: Any = []
        else:
            with self._loading:
                if self._model is None:
                    self._model = self._load()
            rows = self._encode(self._model, texts)
        return unit_rows(rows, count=len(texts), dimensions=self.dimensions, name=self.name)

    def _load(self) -> Any:
        raise NotImplementedError

    def _encode(self, model: Any, texts: list[str]) -> Any:
        raise NotImplementedError


class WordLlamaEmbedder(_Local):
    """The embedded default: wordllama's mean of token vectors, 256 dimensions, no network.

    Its weights and its tokenizer are in its wheel, and it is told not to download anything. It
    knows words and not their order: good for recall of short texts, weak where word order matters.
    Comes with the extra `vector`; raises `ExtraMissing` without it.
    """

    name = "wordllama/l2_supercat_256"
    dimensions = 256
    batch_max = 256
    """A batch of short texts takes about 20 ms of one core."""

    def __init__(self) -> None:
        super().__init__()
        try:
            # The weights come with the wheel, so its version is theirs.
            self.version = importlib.metadata.version("wordllama")
        except importlib.metadata.PackageNotFoundError as missing:
            raise missing_extra("wordllama", "vector") from missing

    def _load(self) -> Any:
        wordllama = load("wordllama", extra="vector")
        # The library looks for its tokenizer in a folder that its wheel spells otherwise; as a
        # cache, the wheel's own folder is looked through under the right name.
        inside = Path(str(wordllama.__file__)).parent
        return wordllama.WordLlama.load(
            config="l2_supercat", dim=self.dimensions, cache_dir=inside, disable_download=True
        )

    def _encode(self, model: Any, texts: list[str]) -> Any:
        rows = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for group in _groups(texts):
            rows[group] = model.embed([texts[index] for index in group], batch_size=len(group))
        return rows


def _groups(texts: list[str]) -> Iterator[list[int]]:
    """Indexes of texts of about one length, so that little is padded, within the bound."""
    group: list[int] = []
    for index in sorted(range(len(texts)), key=lambda index: len(texts[index])):
        if group and len(texts[index]) * (len(group) + 1) > _PADDED_CHARS_MAX:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


class SentenceTransformersEmbedder(_Local):
    """Any model of the sentence-transformers library, on this machine.

    `model` is a name of the model hub or a folder; `revision` (a commit of the hub, or what you
    call the state of a folder) becomes the version, so that vectors of another revision are not
    mixed with these; `dimensions` is checked against what the model gives. `options` go to the
    library's constructor (`device=`, `cache_folder=`, `local_files_only=`). Loading may download
    the model. Raises `ExtraMissing` when the library is not installed.
    """

    batch_max = 64
    """Twice the library's own batch: what one call holds is done in two steps."""

    def __init__(self, model: str, *, revision: str, dimensions: int, **options: Any) -> None:
        super().__init__()
        self.name = f"sentence-transformers/{model}"
        self.version = revision
        self.dimensions = dimensions
        self._source = model
        self._options = options

    def _load(self) -> Any:
        library = load("sentence_transformers", extra="sentence-transformers")
        # A folder has no revision to ask for.
        asked = {} if Path(self._source).is_dir() else {"revision": self.version}
        return library.SentenceTransformer(self._source, **asked, **self._options)

    def _encode(self, model: Any, texts: list[str]) -> Any:
        return model.encode(texts, convert_to_numpy=True, show_progress_bar=False)
