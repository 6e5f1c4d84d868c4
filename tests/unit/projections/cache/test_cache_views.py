"""What every cache does, in a table and in Redis."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eventstore import EventStore, NewEvent
from eventstore.events import RecordedEvent
from eventstore.testing import FixedClock
from projections.cache import CacheView
from projections.cache.rows import KEY_BYTES_MAX, VALUE_BYTES_MAX
from projections.errors import ProjectionError
from projections.projection import Key
from projections.sinks import Change

from .conftest import Cache, declared, rows

JSON_VALUES = [
    {"a": [1, 2.5, None, True], "ü": {"deep": "\u0000"}},
    [],
    "",
    0,
    False,
    2**63 - 1,
    "漢字",
]


@pytest.mark.parametrize("value", JSON_VALUES, ids=json.dumps)
async def test_a_json_value_is_written_then_it_comes_back_the_same(
    cache: Cache, value: Any
) -> None:
    """Any JSON value but null is a row."""
    await cache.put("k", value, 1)
    [row] = await cache.sink.find(cache.build, ["k"])
    assert (row.key, row.value, row.position) == ("k", value, 1)
    assert type(row.value) is type(value)


async def test_an_events_own_data_is_the_value_then_it_is_taken(cache: Cache) -> None:
    """A handler may hand on what the log gave it, which is read-only."""
    await cache.store.append("s", NewEvent("seen", {"a": [{"b": 1}]}))
    event: RecordedEvent = (await cache.store.outbox.page(0, 1)).events[0]
    await cache.put("k", event.data, 1)
    assert await cache.values("k") == {"k": {"a": [{"b": 1}]}}


async def test_a_page_is_sent_twice_then_the_rows_are_as_after_once(cache: Cache) -> None:
    """A worker that died before its checkpoint does no harm by doing it again."""
    await cache.put("gone", 1, 1)
    page = [*rows(2, position=2), Change("gone", None, 9, 0)]
    await cache.write(*page)
    once = await cache.pages()
    await cache.write(*page)
    assert await cache.pages() == once
    assert [row.key for row in once[0]] == ["key/000000", "key/000001"]


async def test_an_int_and_its_text_are_in_one_page_then_they_are_two_rows(cache: Cache) -> None:
    """Each comes back under the key that was given, and one is deleted without the other."""
    await cache.write(Change(5, "int", 9, 0), Change("5", "text", 3, 0))
    assert await cache.values(5, "5") == {5: "int", "5": "text"}
    [page] = await cache.pages()
    assert {row.key: row.value for row in page} == {5: "int", "5": "text"}
    await cache.write(Change(5, None, 10, 0))
    assert await cache.values(5, "5") == {"5": "text"}


async def test_an_older_write_comes_late_then_the_newer_row_stands(cache: Cache) -> None:
    """A write carries its position; a large one is compared in all its digits."""
    newer = 2**62 + 1
    await cache.put("k", "new", newer)
    await cache.put("k", "old", newer - 1)
    await cache.write(Change("k", None, 5, 0))
    [row] = await cache.sink.find(cache.build, ["k"])
    assert (row.value, row.position) == ("new", newer)


async def test_a_row_of_the_same_position_is_written_then_it_is_replaced(cache: Cache) -> None:
    """A key that is rebuilt alone is mended."""
    await cache.put("k", "damaged", 7)
    await cache.put("k", "mended", 7)
    assert await cache.values("k") == {"k": "mended"}


async def test_a_row_is_deleted_then_it_is_gone_and_may_come_again(cache: Cache) -> None:
    """None takes a row away, a later value brings it back."""
    await cache.put("k", 1, 1)
    await cache.write(Change("k", None, 2, 0), Change("never", None, 3, 0))
    assert await cache.values("k", "never") == {}
    assert await cache.pages() == []
    await cache.put("k", 2, 4)
    assert await cache.values("k", "never") == {"k": 2}


async def test_keys_of_every_form_are_asked_then_rows_have_the_key_that_was_asked(
    cache: Cache,
) -> None:
    """A tuple, an int and odd texts are keys."""
    odd = ("plain", 5, ("a", 1), "with space", "*?[x]\\", "ü/漢", "{tag}:x", '"quoted"')
    await cache.write(*[Change(key, str(key), n, 0) for n, key in enumerate(odd, 1)])
    assert await cache.values(*odd, "absent") == {key: str(key) for key in odd}


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "x" * (KEY_BYTES_MAX + 1)])
async def test_a_key_that_cannot_be_stored_is_used_then_it_is_refused_and_has_no_row(
    cache: Cache, key: str
) -> None:
    """What no sink holds is refused when written, and absent when asked for."""
    with pytest.raises(ProjectionError, match="view 'hot', key "):
        await cache.put(key, 1, 1)
    assert await cache.values(key) == {}


@pytest.mark.parametrize("value", [{"secret": {1, 2}}, {"secret": float("nan")}, b"secret"])
async def test_a_value_is_not_json_then_view_and_key_are_named_and_not_the_value(
    cache: Cache, value: Any
) -> None:
    """Nothing is written, and the message holds no payload."""
    with pytest.raises(ProjectionError) as told:
        await cache.write(Change("good", 1, 1, 0), Change("bad", value, 2, 0))
    assert "view 'hot', key 'bad'" in str(told.value)
    assert "nan" not in str(told.value)
    assert "{1, 2}" not in str(told.value)
    assert await cache.values("good", "bad") == {}


async def test_a_value_is_too_large_then_it_is_refused_by_its_size(cache: Cache) -> None:
    """A value has a bound, which is named."""
    with pytest.raises(ProjectionError, match=f"at most {VALUE_BYTES_MAX}"):
        await cache.put("k", "x" * VALUE_BYTES_MAX, 1)


async def test_rows_are_scanned_then_they_come_in_pages_in_the_order_of_their_keys(
    cache: Cache,
) -> None:
    """The order of code points, on every sink: two of them can be compared row by row."""
    keys = [f"key/{n}" for n in range(1_100)] + ["Z", "a", "é", "\uffff", "😀"]
    await cache.write(*[Change(key, n, n + 1, 0) for n, key in enumerate(reversed(keys))])
    pages = await cache.pages()
    assert [row.key for page in pages for row in page] == sorted(keys)
    assert len(pages) > 1


async def test_keys_look_alike_then_each_has_a_row_and_is_scanned_in_its_kind(cache: Cache) -> None:
    """A number, the text of it, a tuple and the text of that are four keys."""
    keys: list[Key] = [5, "5", ("a", 1), '["a",1]', "a"]
    await cache.write(*[Change(key, n, n + 1, 0) for n, key in enumerate(keys)])
    wanted = {key: n for n, key in enumerate(keys)}
    assert await cache.values(*keys) == wanted
    assert {row.key: row.value for page in await cache.pages() for row in page} == wanted


async def test_tenants_and_generations_share_a_view_then_none_sees_the_others_rows(
    cache: Cache,
) -> None:
    """Rows are apart by tenant and by generation."""
    others = [await cache.other("acme"), await cache.other(generation=2)]
    for value, each in enumerate([cache, *others]):
        await each.put("k", value, 10 - value)
    assert [await each.values("k") for each in [cache, *others]] == [{"k": 0}, {"k": 1}, {"k": 2}]
    await cache.drop()
    assert [await each.values("k") for each in others] == [{"k": 1}, {"k": 2}]
    assert [len(await each.pages()) for each in others] == [1, 1]


async def test_a_row_is_older_than_its_time_then_it_is_neither_found_nor_scanned(
    expiring: Cache, clock: FixedClock
) -> None:
    """A row is good from when its event was recorded, whenever it is written."""
    now = expiring.store.outbox.now()
    await expiring.put("k", 1, 1, now)
    await expiring.put("late", 1, 2, now - 10_000_000)
    assert await expiring.values("k", "late") == {"k": 1}
    clock.advance(9.999)
    assert [[row.key for row in page] for page in await expiring.pages()] == [["k"]]
    clock.advance(0.001)
    assert await expiring.values("k", "late") == {}
    assert await expiring.pages() == []


async def test_an_expired_row_changes_then_it_is_served_again(
    expiring: Cache, clock: FixedClock
) -> None:
    """A newer event begins the time anew."""
    await expiring.put("k", 1, 1, expiring.store.outbox.now())
    clock.advance(60)
    await expiring.put("k", 2, 2, expiring.store.outbox.now())
    assert await expiring.values("k") == {"k": 2}


async def test_a_page_is_written_then_it_says_what_was_sent(cache: Cache) -> None:
    """Writes are counted, deletes among them."""
    written = await cache.write(Change("a", "xyz", 1, 0), Change("b", None, 2, 0))
    assert written.writes == 2
    assert written.bytes >= len('"xyz"')
    assert (await cache.write()).writes == 0


async def test_a_build_is_created_again_then_its_rows_stand(cache: Cache) -> None:
    """Making the place is done as often as it is asked for."""
    await cache.put("k", 1, 1)
    await cache.create()
    assert await cache.values("k") == {"k": 1}
    await cache.put("k", 2, 2)
    assert await cache.values("k") == {"k": 2}


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_rows_are_to_expire_at_once_then_the_declaration_is_refused(seconds: float) -> None:
    """A time has to be one."""
    with pytest.raises(ProjectionError, match="expire_seconds"):
        CacheView(declared(), expire_seconds=seconds)


async def test_a_view_is_declared_then_it_has_the_options_of_all_views(store: EventStore) -> None:
    """Freshness, partitions and what becomes of errors are said as elsewhere."""
    view = CacheView(declared(), fresh_seconds=2, when_late="raise", partitions=4)
    assert (view.fresh_seconds, view.when_late, view.partitions) == (2, "raise", 4)
    assert view.bind(store).sink is view.sink
