"""The index in memory of a view in SQLite: it follows the table, is kept on disk, and is never the
source of an answer."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventstore import EventStore
from eventstore.outbox import Outbox
from projections import Relay
from projections.asking import serving
from projections.recall import embedded, following
from projections.recall.found import Filters
from projections.recall.searching import serving_of
from projections.vectors import VectorIndex, opening

from .conftest import CountingEmbedder, Recall

PIZZA = "pizza with cheese is my favourite food"
FOLDER = "log.db-views/memories_found-1-1"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes of a few rows are worth keeping."""
    monkeypatch.setattr(following, "KEPT_ROWS_MIN", 1)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file."""
    return f"sqlite:///{tmp_path}/log.db"


@pytest_asyncio.fixture
async def filled(url: str) -> AsyncIterator[Recall]:
    """Twenty memories, searched once, and the index kept."""
    async with EventStore.open(url) as store:
        recall = Recall(store, CountingEmbedder())
        for n in range(20):
            await recall.keep(n, f"{PIZZA} {n}", user="ann")
        await recall.feed()
        await recall.keys(PIZZA)
        await recall.view.settle()
        yield recall
        await recall.declared.close()


class Reopened:
    """Notes how indexes come to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.origins: list[str] = []
        self.reasons: list[str] = []
        open_index = opening.open_index

        async def noting(*args: Any, **options: Any) -> Any:
            opened = await open_index(*args, **options)
            self.origins.append(opened.origin)
            self.reasons.append(opened.reason)
            return opened

        monkeypatch.setattr("projections.vectors.open_index", noting, raising=False)


@pytest.fixture
def reopened(monkeypatch: pytest.MonkeyPatch) -> Reopened:
    """How indexes come to be in this test."""
    return Reopened(monkeypatch)


async def test_a_process_starts_then_it_reads_the_kept_index_and_catches_up(
    filled: Recall, tmp_path: Path, reopened: Reopened
) -> None:
    """What was forgotten or corrected since it was kept is not found, what is new is."""
    assert (tmp_path / FOLDER / "index.json").exists()
    await Recall(filled.store, CountingEmbedder()).keys(PIZZA)
    await filled.forget(3)
    await filled.keep(4, "the museum in Paris")
    await filled.keep(20, f"{PIZZA} 20")
    await filled.feed()
    other = Recall(filled.store, CountingEmbedder())
    found = {each.key: each.text for each in await other.view.search(PIZZA, 100)}
    assert reopened.origins == ["kept", "caught up"]
    assert set(found) == {*range(21)} - {3}
    assert (found[4], found[20]) == ("the museum in Paris", f"{PIZZA} 20")


async def test_a_folder_is_named_then_the_index_is_kept_there(
    url: str, tmp_path: Path, reopened: Reopened
) -> None:
    """And nowhere else; closing keeps what changed."""
    folder = tmp_path / "indexes"
    async with EventStore.open(url) as store:
        recall = Recall(store, CountingEmbedder(), index_folder=folder)
        await recall.keep("a", PIZZA)
        await recall.keep("b", PIZZA)
        await recall.feed()
        assert len(await recall.keys(PIZZA)) == 2
        await recall.declared.close()
        assert not (tmp_path / "log.db-views").exists()
        assert (folder / "memories_found-1-1" / "index.json").exists()
        assert len(await recall.keys(PIZZA)) == 2
        await recall.declared.close()
    assert reopened.origins == ["rebuilt", "kept"]


@pytest.mark.parametrize("part", ["vectors", "labels", "alive", "index.json"])
async def test_a_kept_file_is_damaged_then_the_index_is_made_of_the_table(
    filled: Recall, tmp_path: Path, reopened: Reopened, part: str
) -> None:
    """Not of what is left of it."""
    path = next((tmp_path / FOLDER).glob(f"{part}*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x5A
    path.write_bytes(content)
    other = Recall(filled.store, CountingEmbedder())
    assert len(await other.keys(PIZZA, 100)) == 20
    assert reopened.origins == ["rebuilt"]
    assert "damaged" in reopened.reasons[0]


async def test_the_folder_cannot_be_written_then_searches_go_on(
    filled: Recall, tmp_path: Path
) -> None:
    """A file stands where the folder would be."""
    await filled.declared.close()
    shutil.rmtree(tmp_path / "log.db-views")
    (tmp_path / "log.db-views").write_bytes(b"")
    assert len(await filled.keys(PIZZA, 100)) == 20
    await filled.view.settle()
    await filled.declared.close()


async def test_the_store_is_restored_and_goes_on_otherwise_then_its_index_is_not_believed(
    url: str, tmp_path: Path, reopened: Reopened
) -> None:
    """The index that stands beside it knows rows of a log that is no more."""

    async def says(id: str, *texts: str) -> list[str]:
        async with EventStore.open(url) as store:
            recall = Recall(store, CountingEmbedder())
            for text in texts:
                await recall.keep(id, text)
            await recall.feed()
            found = [each.text for each in await recall.view.search("Zanzibar", 100)]
            await recall.declared.close()
        return found

    await says("a", PIZZA)
    await says("b", PIZZA)
    shutil.copy(tmp_path / "log.db", tmp_path / "backup.db")
    assert "Zanzibar is lost" in await says("a", "Zanzibar is lost")
    for path in tmp_path.glob("log.db*"):
        if path.is_file():
            path.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "log.db")
    found = await says("c", "something", "Zanzibar came back")
    assert sorted(found) == ["Zanzibar came back", PIZZA, PIZZA]
    assert reopened.origins[-1] == "rebuilt"
    assert "another log" in reopened.reasons[-1]


async def test_removals_are_too_many_to_be_kept_then_an_older_index_is_made_anew(
    filled: Recall, monkeypatch: pytest.MonkeyPatch, reopened: Reopened
) -> None:
    """Tombstones are bounded, and an index that missed some does not serve."""
    monkeypatch.setattr(embedded, "TOMBSTONES_MAX", 3)
    # What is made anew is not kept in turn: the last one finds the index of before, too.
    monkeypatch.setattr(following, "KEPT_ROWS_MIN", 1_000)
    running = Recall(filled.store, CountingEmbedder())
    await running.keys(PIZZA)
    for n in range(10):
        await filled.forget(n)
        await filled.feed()
    rows = await filled.store.outbox.query(
        "SELECT count(*) FROM recall_memories_found_1 WHERE text IS NULL"
    )
    assert rows == [(3,)]
    for recall in (running, Recall(filled.store, CountingEmbedder())):
        assert sorted(await recall.keys(PIZZA, 100)) == list(range(10, 20))
    assert reopened.origins == ["kept", "rebuilt", "rebuilt"]


async def test_memories_change_while_searches_run_then_none_is_found_as_it_was(
    filled: Recall,
) -> None:
    """From the moment that a view has a change, no search gives what was before it."""
    texts: dict[int, int] = dict.fromkeys(range(20), 0)
    done = asyncio.Event()

    async def search() -> int:
        looked = 0
        while not done.is_set():
            least = dict(texts)
            for each in await filled.view.search(PIZZA, 100):
                said = each.text.removeprefix(PIZZA).split()
                number = int(said[1]) if len(said) > 1 else 0
                assert number >= least[int(str(each.key))]
            looked += 1
        return looked

    async with Relay(filled.store, [filled.declared]):
        searching = [asyncio.create_task(search()) for _ in range(3)]
        for step in range(1, 41):
            key = step % 5
            if step % 3:
                position = await filled.keep(key, f"{PIZZA} {key} {step}")
            else:
                position = await filled.forget(key)
            await filled.view.search(PIZZA, at_least=position)
            texts[key] = step
        done.set()
        assert all(looked > 1 for looked in await asyncio.gather(*searching))


async def test_many_rows_are_searched_then_a_graph_is_built_behind_the_searches(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first search compares all rows; later ones ask the graph, which is kept."""
    monkeypatch.setattr("projections.vectors.index.EXACT_ROWS_MAX", 50)
    monkeypatch.setattr(VectorIndex.__init__, "__kwdefaults__", {"exact_rows_max": 50})
    monkeypatch.setattr(opening.open_index, "__kwdefaults__", {
        **(opening.open_index.__kwdefaults__ or {}), "exact_rows_max": 50
    })  # fmt: skip
    async with EventStore.open(url) as store:
        recall = Recall(store, CountingEmbedder())
        for n in range(120):
            await recall.keep(n, f"{PIZZA} {n} {n * 7}")
        await recall.feed()
        before = await recall.keys(f"{PIZZA} 7 49", 1)
        await recall.view.settle()
        assert await recall.keys(f"{PIZZA} 7 49", 1) == before == [7]
        assert list((tmp_path / FOLDER).glob("graph*"))
        await recall.declared.close()


async def test_another_tenant_comes_then_its_words_crowd_none_out(
    filled: Recall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all rows are one tenant's they are not asked whose they are, which takes most of a
    search by words; from then on words are looked for among the tenant's own."""
    asked: list[Any] = []
    query = Outbox.query

    async def noting(outbox: Outbox, sql: str, args: Sequence[Any] = ()) -> Any:
        asked.extend(args)
        return await query(outbox, sql, args)

    monkeypatch.setattr(Outbox, "query", noting)
    sink: Any = filled.declared.sink

    async def words() -> tuple[list[int], bool]:
        """The first row that has the word, and whether rows were asked whose they are."""
        asked.clear()
        build, _ = await serving(filled.view)
        where = (await serving_of(sink, build)).place
        found = await sink.place(build).words(build, where, "zanzibar", 1, Filters())
        return found, 'scope : "t1" AND text : "zanzibar"' in asked

    await filled.keep("mine", "A letter from Zanzibar")
    await filled.feed()
    await filled.keys(PIZZA)
    mine, was_asked = await words()
    assert (len(mine), was_asked) == (1, False)
    acme = Recall(filled.store.tenant("acme"), filled.embedder)
    for n in range(3):
        await acme.keep(n, "Zanzibar again")
    await acme.feed()
    assert await words() == (mine, True)
    await acme.declared.close()


async def test_sqlite_has_no_full_text_search_then_it_is_told_and_vectors_are_searched(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and with what it means."""
    monkeypatch.setattr(embedded, "_FTS5", "SELECT 1 WHERE 0")
    async with EventStore.open(url) as store:
        recall = Recall(store, CountingEmbedder())
        await recall.keep("a", PIZZA)
        await recall.feed()
        assert await recall.keys(PIZZA) == ["a"]
        await recall.keep("a", "another text")
        await recall.forget("b")
        await recall.feed()
        assert (await recall.view.search("another text"))[0].text == "another text"
        await recall.declared.close()
    assert caplog.text.count("FTS5") == 1


async def test_a_generation_is_dropped_then_its_kept_index_is_gone(
    filled: Recall, tmp_path: Path
) -> None:
    """Nobody is left to read it."""
    from projections.catalog import generations
    from projections.relay.generations import begin, drop

    await begin(filled.declared, filled.store.outbox)
    await filled.feed()
    outbox = filled.store.outbox
    tenant = await outbox.tenant_id()
    old = (await generations(outbox, tenant, filled.declared.name))[0]
    await drop(filled.declared, old.build(outbox, filled.declared.name, tenant))
    assert not (tmp_path / FOLDER).exists()


async def test_memory_is_bounded_then_the_index_that_was_searched_longest_ago_goes(
    filled: Recall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again when it is searched again."""
    monkeypatch.setattr(following, "_BYTES_MAX", 1)
    acme = Recall(filled.store.tenant("acme"), filled.embedder)
    acme.declared, acme.view = filled.declared, filled.declared.bind(acme.store)
    await acme.keep("a", PIZZA)
    await acme.feed()
    for _ in range(2):
        assert await acme.keys(PIZZA) == ["a"]
        assert len(await filled.keys(PIZZA, 100)) == 20
