"""What a vector index finds: against a plain dict of vectors, with and without a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from projections.vectors import Hit, VectorIndex
from projections.vectors.limits import RECALL_MIN

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def unit(rows: np.ndarray) -> Vectors:
    """Rows of length one."""
    found: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def topics(count: int, dimensions: int = 32, *, seed: int = 0, topics: int = 40) -> Vectors:
    """Vectors with structure, as those of texts have: each near one of some topics."""
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((topics, dimensions))
    spread = 0.5 * chance.standard_normal((count, dimensions))
    return unit(centres[chance.integers(0, topics, count)] + spread)


def best(
    rows: dict[int, Vectors], vector: Vectors, k: int, allow: Callable[[int], bool] | None = None
) -> list[float]:
    """The k best scores by comparing every allowed row, in another way than the index does."""
    scores = [float(np.vdot(row, vector)) for at, row in rows.items() if not allow or allow(at)]
    return sorted(scores, reverse=True)[:k]


def recall(hits: list[Hit], scores: list[float]) -> float:
    """The share of results that belong among the best."""
    return sum(hit.score >= scores[-1] - 1e-5 for hit in hits) / len(scores)


def with_graph(rows: Vectors) -> VectorIndex:
    """An index that has a graph over these rows, labelled from 0."""
    index = VectorIndex(rows.shape[1], exact_rows_max=100)
    index.put(range(len(rows)), rows)
    assert index.fold_due
    assert index.fold()
    assert not index.exact
    return index


def test_rows_are_few_then_the_best_come_back_in_order_with_their_cosines() -> None:
    """Exact below the size."""
    rows = topics(500)
    index = VectorIndex(32)
    index.put(range(500), rows)
    assert index.exact
    assert not index.fold_due
    assert not index.fold()
    hits = index.search(rows[7], 10)
    assert hits[0] == Hit(7, pytest.approx(1, abs=1e-5))
    assert [hit.score for hit in hits] == pytest.approx(
        best(dict(enumerate(rows)), rows[7], 10), abs=1e-5
    )


def test_there_are_fewer_rows_than_asked_for_then_all_come_back() -> None:
    """No row is invented, an empty index has none."""
    index = VectorIndex(2)
    assert index.search(np.array([1, 0], dtype=np.float32), 5) == []
    index.put([4, 9], np.array([[1, 0], [0, 1]], dtype=np.float32))
    assert index.search(np.array([0, 1], dtype=np.float32), 5) == [Hit(9, 1.0), Hit(4, 0.0)]
    assert (len(index), 4 in index, 5 in index) == (2, True, False)


def test_rows_are_many_then_the_graph_finds_what_comparing_all_would() -> None:
    """Recall of strangers is what is promised: 0.95 of the ten nearest."""
    rows = topics(6_100)
    index = with_graph(rows[:6_000])
    known = dict(enumerate(rows[:6_000]))
    found = [recall(index.search(asked, 10), best(known, asked, 10)) for asked in rows[6_000:]]
    assert sum(found) / len(found) >= 0.95


def test_vectors_have_no_structure_then_every_row_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A graph that finds too little of its own rows is not asked: slower, but nothing is missed.

    Among so few rows a graph would still do; this one has few neighbours and looks narrowly.
    """
    monkeypatch.setattr("projections.vectors.graph.GRAPH_CONNECTIVITY", 4)
    monkeypatch.setattr("projections.vectors.graph.GRAPH_EXPANSIONS_SEARCH", (64,))
    chance = np.random.default_rng(5)
    rows = unit(chance.standard_normal((3_020, 256)))
    index = VectorIndex(256, exact_rows_max=100)
    index.put(range(3_000), rows[:3_000])
    index.fold()
    assert index.exact
    known = dict(enumerate(rows[:3_000]))
    for asked in rows[3_000:]:
        assert recall(index.search(asked, 10), best(known, asked, 10)) == 1 > RECALL_MIN


def test_a_label_is_put_again_then_only_its_new_vector_is_found() -> None:
    """A corrected memory is found where it is now, once; with the graph and without."""
    rows = topics(2_000)
    for index in (with_graph(rows), VectorIndex(32)):
        index.put(range(2_000), rows)
        index.put([7], -rows[7:8])
        assert len(index) == 2_000
        assert index.search(-rows[7], 1) == [Hit(7, pytest.approx(1, abs=1e-5))]
        assert 7 not in [hit.label for hit in index.search(rows[7], 50)]
        index.fold()
        assert index.search(-rows[7], 1)[0].label == 7


def test_a_label_stands_twice_in_one_call_then_the_last_counts() -> None:
    """As if they had been put one after the other."""
    index = VectorIndex(2)
    index.put([1, 2, 1], np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32))
    assert len(index) == 2
    assert index.search(np.array([0, 1], dtype=np.float32), 1) == [Hit(1, 1.0)]


def test_labels_are_removed_then_no_search_gives_them_and_k_still_come_back() -> None:
    """Forgotten is forgotten, before and after a fold, also when nearly all near rows are gone."""
    rows = topics(4_000, topics=4)
    index = with_graph(rows)
    nearest = np.argsort(-(rows @ rows[0]))[:900].tolist()
    assert index.remove([*nearest, 99_999]) == 900
    gone = set(nearest)
    left = {label: row for label, row in enumerate(rows) if label not in gone}
    for _ in range(2):
        hits = index.search(rows[0], 10)
        assert len(hits) == 10
        assert not gone & {hit.label for hit in hits}
        assert recall(hits, best(left, rows[0], 10)) >= 0.9
        index.put([5_000], -rows[:1])
        index.fold()
    assert index.remove([5_000]) == 1
    assert 5_000 not in index


def test_more_than_half_is_dead_then_folding_builds_anew_without_it() -> None:
    """Memory and graph are of the living alone, and all of them are still found."""
    rows = topics(12_000)
    index = with_graph(rows)
    index.remove(range(7_000))
    assert index.fold_due
    assert index.fold()
    assert not index.fold_due
    seen, _ = index.snapshot()
    assert seen.count == len(index) == 5_000
    assert index.search(rows[9_000], 1)[0].label == 9_000
    assert min(hit.label for hit in index.search(rows[0], 100)) >= 7_000


def test_the_forgotten_are_purged_then_their_numbers_are_gone_from_memory() -> None:
    """What was removed can be erased at once, not only when half is dead."""
    rows = topics(2_000)
    index = with_graph(rows)
    index.remove([3])
    assert index.fold(purge=True)
    assert not index.fold(purge=True)
    seen, graph = index.snapshot()
    assert not (seen.matrix[: seen.count] == rows[3]).all(axis=1).any()
    assert graph is not None
    assert graph.count == seen.count == 1_999


def test_rows_came_since_the_graph_then_they_are_found_before_they_are_folded_in() -> None:
    """What was just remembered is there at once."""
    rows = topics(3_000)
    index = with_graph(rows[:2_000])
    index.put(range(2_000, 3_000), rows[2_000:])
    for label in (2_000, 2_999, 3):
        assert index.search(rows[label], 1)[0].label == label
    assert index.fold()
    _, graph = index.snapshot()
    assert graph is not None
    assert graph.count == 3_000
    assert index.search(rows[2_999], 1)[0].label == 2_999


def test_nobody_folds_then_writing_does_before_searches_become_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rows that are compared one by one have a bound; here a smaller one."""
    monkeypatch.setattr("projections.vectors.index.TAIL_ROWS_MAX", 200)
    monkeypatch.setattr("projections.vectors.index.TAIL_ROWS_HARD_MAX", 500)
    index = VectorIndex(32, exact_rows_max=100)
    index.put(range(1_900), topics(1_900))
    seen, graph = index.snapshot()
    assert graph is not None
    assert 0 < seen.count - graph.count <= 500


FILTERS: dict[str, Callable[[int], bool]] = {
    "half": lambda label: label % 2 == 0,
    "one in a hundred": lambda label: label % 100 == 0,
    "three": lambda label: label in (5, 1_000, 3_999),
    "none": lambda label: label < 0,
}


@pytest.mark.parametrize("allowed", sorted(FILTERS))
@pytest.mark.parametrize("form", ["set", "array", "function"])
def test_some_labels_are_allowed_then_k_of_them_come_back_when_there_are_k(
    allowed: str, form: str
) -> None:
    """A filter takes nothing away but what it forbids, however it is given."""
    rows = topics(4_100)
    index = with_graph(rows[:4_000])
    allow = FILTERS[allowed]
    labels = [label for label in range(4_000) if allow(label)]
    given: Any = {"set": set(labels), "array": np.array(labels, dtype=np.int64), "function": allow}
    known = dict(enumerate(rows[:4_000]))
    for asked in rows[4_000:4_020]:
        hits = index.search(asked, 10, given[form])
        scores = best(known, asked, 10, allow)
        assert len(hits) == len(scores) == min(10, len(labels))
        assert all(allow(hit.label) for hit in hits)
        assert not scores or recall(hits, scores) >= 0.9


def test_what_is_allowed_lies_far_away_then_it_is_found_all_the_same() -> None:
    """The graph's near rows are all forbidden: those allowed are compared instead."""
    near, far = topics(5_000, topics=1), -topics(3_000, topics=1)
    index = with_graph(np.concatenate([near, far]))
    for allow in (lambda label: label >= 5_000, np.arange(5_000, 9_000), set(range(5_000, 9_000))):
        hits = index.search(near[0], 10, allow)
        known = dict(enumerate(far, 5_000))
        assert [hit.score for hit in hits] == pytest.approx(best(known, near[0], 10), abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "vectors", "told"),
    [
        ([1], [[1, 0, 0]], r"shape \(1, 3\); expected \(1, 2\)"),
        ([1, 2], [[1, 0]], r"shape \(1, 2\); expected \(2, 2\)"),
        ([-1], [[1, 0]], "labels must be 0 to"),
        ([2**63], [[1, 0]], "labels must be 0 to"),
        ([1], [[np.nan, 0]], "finite"),
    ],
)
def test_what_is_put_does_not_fit_then_nothing_is_changed(
    labels: list[int], vectors: list[list[float]], told: str
) -> None:
    """Refused before any of it is taken."""
    index = VectorIndex(2)
    with pytest.raises(ValueError, match=told):
        index.put(labels, np.array(vectors, dtype=np.float32))
    assert len(index) == 0


@pytest.mark.parametrize(
    ("vector", "k", "told"),
    [
        ([1, 0], 0, "k is 0"),
        ([1, 0], 1_001, "k is 1001"),
        ([1], 1, "2 finite"),
        ([1, np.inf], 1, "2 f"),
    ],
)
def test_what_is_asked_does_not_fit_then_it_is_refused(
    vector: list[float], k: int, told: str
) -> None:
    """Bounds are told with their values."""
    with pytest.raises(ValueError, match=told):
        VectorIndex(2).search(np.array(vector, dtype=np.float32), k)
    with pytest.raises(ValueError, match="dimensions is 0"):
        VectorIndex(0)


LABELS = st.integers(0, 60)
SEEDS = st.integers(0, 2**16)


class IndexMachine(RuleBasedStateMachine):
    """Any order of putting, removing, folding and asking, against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.index = VectorIndex(8, exact_rows_max=10)
        self.rows: dict[int, Vectors] = {}

    @rule(labels=st.lists(LABELS, max_size=40), seed=SEEDS)
    def put(self, labels: list[int], seed: int) -> None:
        """Adds and replaces."""
        vectors = unit(np.random.default_rng(seed).standard_normal((len(labels), 8)))
        self.index.put(labels, vectors)
        self.rows.update(zip(labels, vectors, strict=True))

    @rule(labels=st.sets(LABELS, max_size=20))
    def remove(self, labels: set[int]) -> None:
        """Removes, also what is not there."""
        assert self.index.remove(labels) == len(labels & self.rows.keys())
        for label in labels:
            self.rows.pop(label, None)

    @rule(purge=st.booleans())
    def fold(self, purge: bool) -> None:
        """Folds, due or not."""
        self.index.fold(purge=purge)

    @precondition(lambda self: self.rows)
    @rule(seed=SEEDS, k=st.integers(1, 70), allowed=st.none() | st.sets(LABELS))
    def search(self, seed: int, k: int, allowed: set[int] | None) -> None:
        """So few rows are all found: by the set, the function and the array the same."""
        asked = unit(np.random.default_rng(seed).standard_normal((1, 8)))[0]
        allow = None if allowed is None else allowed.__contains__
        expected = best(self.rows, asked, k, allow)
        forms: list[Any] = (
            [None] if allowed is None else [allowed, allow, np.array([*allowed], int)]
        )
        for form in forms:
            hits = self.index.search(asked, k, form)
            assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-5)
            assert len({hit.label for hit in hits}) == len(hits)
            for hit in hits:
                assert hit.score == pytest.approx(float(self.rows[hit.label] @ asked), abs=1e-5)

    @invariant()
    def holds_the_same_labels(self) -> None:
        """Length and membership."""
        assert len(self.index) == len(self.rows)
        assert all(label in self.index for label in self.rows)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=40, stateful_step_count=20)
