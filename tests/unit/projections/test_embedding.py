"""What every embedder promises, the hashing one, and the cache that computes once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.embedding import CachedEmbedder, EmbeddingFailed, HashingEmbedder, content_hash
from projections.embedding.port import TEXT_CHARS_MAX
from projections.embedding.units import from_bytes, to_bytes, unit_rows


class DictCache:
    """Keeps vectors in a dict, and what it was asked."""

    def __init__(self, identity: tuple[str, str]) -> None:
        self.identity = identity
        self.kept: dict[bytes, bytes] = {}
        self.asked: list[Sequence[bytes]] = []

    async def find(self, hashes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Those that are kept."""
        self.asked.append(hashes)
        return {hash_: self.kept[hash_] for hash_ in hashes if hash_ in self.kept}

    async def keep(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keeps them."""
        self.kept.update(vectors)


class Failing:
    """Hashes, but fails at the batch that holds a given text."""

    name, version, dimensions, batch_max = "failing", "1", 16, 2

    def __init__(self, poison: str) -> None:
        self.poison = poison
        self.batches: list[list[str]] = []
        self._inner = HashingEmbedder(16)

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Fails when the poison is among the texts."""
        self.batches.append(list(texts))
        if self.poison in texts:
            raise EmbeddingFailed("failing: no", retryable=True)
        return await self._inner.embed(texts)


def _cache_of(embedder: HashingEmbedder | Failing) -> DictCache:
    return DictCache((embedder.name, embedder.version))


async def test_texts_are_hashed_then_rows_are_float32_of_length_one_in_their_order() -> None:
    """The shape, the type, the length and the order of what comes back."""
    embedder = HashingEmbedder(64)
    rows = await embedder.embed(["red shoes", "blue hats", "red shoes"])
    assert rows.shape == (3, 64)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])
    assert (await embedder.embed([])).shape == (0, 64)


async def test_a_text_holds_no_word_then_its_row_is_zero() -> None:
    """Nothing to go by is no direction, and no number that is not one."""
    rows = await HashingEmbedder(64).embed(["", " ... !", "word"])
    assert not rows[:2].any()
    assert rows[2].any()


async def test_texts_share_words_then_they_are_nearer_than_strangers() -> None:
    """Another ending is near, an equal word nearer, case and Unicode forms count for nothing."""
    texts = ["returning shoes", "returned shoe", "RETURNING \uff33hoes", "quarterly tax report"]
    rows = await HashingEmbedder().embed(texts)
    same, ending, stranger = (float(rows[0] @ rows[place]) for place in (2, 1, 3))
    assert same == pytest.approx(1, abs=1e-6)
    assert same > ending > 0.3 > stranger


async def test_hashing_is_called_version_one_then_its_vectors_are_these() -> None:
    """Kept vectors stay comparable: a change of the numbers needs a new version."""
    row = (await HashingEmbedder(8).embed(["golden vector"]))[0]
    assert HashingEmbedder(8).version == "1-8"
    assert row.tolist() == pytest.approx(GOLDEN, abs=1e-6)


GOLDEN = [0.0, -0.5, -0.5, 0.0, -0.5, -0.5, 0.0, 0.0]


async def test_a_call_holds_too_many_texts_then_it_is_refused() -> None:
    """A batch has a bound, and a single string is not taken for a list of letters."""
    embedder = HashingEmbedder(8)
    with pytest.raises(ValueError, match="257 texts in one call; at most 256"):
        await embedder.embed(["x"] * 257)
    with pytest.raises(ValueError, match="not one text"):
        await embedder.embed("text")
    with pytest.raises(ValueError, match="must be 8 to 4096"):
        HashingEmbedder(4)


async def test_a_text_is_longer_than_the_bound_then_its_beginning_counts() -> None:
    """Eight megabytes hold up no core."""
    beginning = "word " * (TEXT_CHARS_MAX // 5 + 1)
    rows = await HashingEmbedder(64).embed([beginning[:TEXT_CHARS_MAX], beginning + "other " * 99])
    assert np.array_equal(rows[0], rows[1])


async def test_a_text_holds_a_lone_surrogate_then_it_is_embedded_all_the_same() -> None:
    """Text that no encoding knows is somebody's input, not a failure of the view."""
    rows = await HashingEmbedder(64).embed(["broken \ud800 word", "broken word"])
    assert float(rows[0] @ rows[1]) > 0.9
    assert len(content_hash("broken \ud800 word")) == 16


@given(st.text(), st.text())
def test_texts_differ_then_their_hashes_differ(one: str, other: str) -> None:
    """16 bytes, equal for equal texts only."""
    assert (content_hash(one) == content_hash(other)) == (one == other)
    assert len(content_hash(one)) == 16


def test_a_text_is_hashed_then_its_hash_is_the_one_that_is_kept_today() -> None:
    """Hashes are stored: another function would compute every vector anew."""
    assert content_hash("golden").hex() == GOLDEN_HASH


GOLDEN_HASH = "e400c30bc0c57b7de30c6b3cb756c382"


async def test_a_text_was_embedded_before_then_the_cache_answers_and_it_is_counted() -> None:
    """Computed once for each distinct text; the counts add up to the texts."""
    embedder = HashingEmbedder(32)
    cache = _cache_of(embedder)
    first = CachedEmbedder(embedder, cache)
    rows = await first.embed(["a", "b", "a", "c"])
    assert (first.computed, first.saved) == (3, 1)
    again = CachedEmbedder(embedder, cache)
    assert np.array_equal(await again.embed(["a", "b", "a", "c"]), rows)
    assert (again.computed, again.saved) == (0, 4)
    assert np.array_equal(rows, await embedder.embed(["a", "b", "a", "c"]))
    assert [len(asked) for asked in cache.asked] == [3, 3]


async def test_texts_are_many_then_they_go_on_in_batches_and_each_is_kept() -> None:
    """A failure loses one batch: those before it are not computed again."""
    embedder = Failing("poison")
    cached = CachedEmbedder(embedder, _cache_of(embedder))
    with pytest.raises(EmbeddingFailed):
        await cached.embed(["a", "b", "c", "poison", "d"])
    assert embedder.batches == [["a", "b"], ["c", "poison"]]
    embedder.poison = "nothing"
    rows = await cached.embed(["a", "b", "c", "poison", "d"])
    assert embedder.batches[2:] == [["c", "poison"], ["d"]]
    assert cached.computed == 5
    assert rows.shape == (5, 16)


async def test_a_kept_vector_is_of_another_length_then_it_is_computed_anew() -> None:
    """What cannot be this model's vector is never served."""
    embedder = HashingEmbedder(32)
    cache = _cache_of(embedder)
    cache.kept[content_hash("a")] = b"\0" * 12
    cache.kept[content_hash("b")] = np.full(32, np.nan, dtype="<f4").tobytes()
    cached = CachedEmbedder(embedder, cache)
    assert np.array_equal(await cached.embed(["a", "b"]), await embedder.embed(["a", "b"]))
    assert cached.computed == 2
    assert len(cache.kept[content_hash("a")]) == 128


async def test_the_model_has_a_new_version_then_the_old_cache_is_refused() -> None:
    """Vectors of two models are never mixed."""
    with pytest.raises(ValueError, match="the embedder is"):
        CachedEmbedder(HashingEmbedder(32), DictCache(("hashing", "1-64")))


async def test_nothing_is_asked_then_the_cache_is_left_alone() -> None:
    """An empty page costs no query."""
    embedder = HashingEmbedder(32)
    cache = _cache_of(embedder)
    assert (await CachedEmbedder(embedder, cache).embed([])).shape == (0, 32)
    assert cache.asked == []


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_a_vector_is_kept_as_bytes_then_it_comes_back_equal(numbers: list[float]) -> None:
    """Little-endian float32, nothing lost."""
    row = np.array(numbers, dtype=np.float32)
    back = from_bytes(to_bytes(row), 4)
    assert back is not None
    assert np.array_equal(back, row)
    assert len(to_bytes(row)) == 16


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_a_row_is_scaled_then_its_length_is_one_whatever_its_numbers(numbers: list[float]) -> None:
    """Neither huge nor tiny numbers overflow on the way."""
    row = unit_rows([numbers], count=1, dimensions=4, name="m")[0]
    expected = 1.0 if any(np.float32(number) for number in numbers) else 0.0
    assert float(np.linalg.norm(row.astype(np.float64))) == pytest.approx(expected, abs=1e-5)


def test_a_model_gives_other_shapes_or_no_numbers_then_it_fails_by_name() -> None:
    """A vector of another length or with infinities is never kept."""
    with pytest.raises(EmbeddingFailed, match=r"m gave vectors of shape \(1, 3\)"):
        unit_rows([[1, 2, 3]], count=1, dimensions=4, name="m")
    with pytest.raises(EmbeddingFailed, match="not finite"):
        unit_rows([[1, np.inf]], count=1, dimensions=2, name="m")


def test_the_package_is_imported_then_numpy_and_models_are_not() -> None:
    """Whoever does not use vectors pays nothing for them."""
    code = (
        "import sys, projections, projections.embedding, projections.vectors\n"
        "heavy = {'numpy', 'usearch', 'wordllama', 'httpx2', 'sentence_transformers'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "package"),
    [("HashingEmbedder", "projections.embedding"), ("VectorIndex", "projections.vectors")],
)
def test_numpy_is_not_there_then_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    """What to install stands in the message."""
    code = f"import sys; sys.modules['numpy'] = None\nfrom {package} import {name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'agent-eventstore[vector]'" in done.stderr.splitlines()[-1]


def test_a_name_is_asked_for_that_is_not_there_then_it_is_an_attribute_error() -> None:
    """Lazy names do not swallow spelling mistakes."""
    import projections.embedding
    import projections.vectors

    for package in (projections.embedding, projections.vectors):
        with pytest.raises(AttributeError, match="nonsense"):
            package.nonsense
        assert all(getattr(package, name) is not None for name in package.__all__)
