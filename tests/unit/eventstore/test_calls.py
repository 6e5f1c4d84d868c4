"""The door, the envelope and the hash that every engine shares."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from eventstore import Append, AppendCondition, Expected, InvalidEvent, NewEvent, Query
from eventstore.calls import CALL_SCOPE, Defaults, prepare_many, prepare_one
from eventstore.envelope import GENESIS, chain, envelope_tail, plain_tail
from eventstore.testing import SequentialIds, isolated_registry

NOTHING = Defaults()


def _one(append: Append, key: str | None = None, prefix: str = "e", **defaults: Any) -> Any:
    return prepare_one("default", append, key, Defaults(**defaults), SequentialIds(prefix))


def test_an_event_is_hashed_then_the_hash_covers_all_that_is_stored_of_it() -> None:
    """sha256 over the previous hash, the envelope and the payload; golden, byte for byte."""
    tail = envelope_tail("id", "s", "t", 1, None, "ann", None, None, None, '["x"]', None)
    assert tail == b'"id","s","t",1,null,"ann",null,null,null,"[\\"x\\"]",null,0,null]'
    digest = chain(GENESIS, 1, 1, 5, tail, b'{"a":1}')
    envelope = b'[1,1,5,"id","s","t",1,null,"ann",null,null,null,"[\\"x\\"]",null,0,null]'
    assert digest == hashlib.sha256(bytes(32) + envelope + b'{"a":1}').digest()
    assert digest.hex() == "0547dff413dc03d0603d8452ff984326fe360d40c17d031b0c0b92c7add7fa6d"


@pytest.mark.parametrize("place", range(13))
def test_one_thing_of_the_envelope_is_other_then_the_hash_is_another(place: int) -> None:
    """No field is left out of what the hash covers."""
    fields: list[Any] = ["id", "s", "t", 1, 2, "a", "c", "r", "d", "g", "x", 0, 3]
    before = envelope_tail(*fields)
    fields[place] = "other" if isinstance(fields[place], str) else 9
    assert envelope_tail(*fields) != before


@pytest.mark.parametrize(
    "change", [(b"1" * 32, 1, 1, 5), (GENESIS, 2, 1, 5), (GENESIS, 1, 2, 5), (GENESIS, 1, 1, 6)]
)
def test_what_the_commit_adds_is_other_then_the_hash_is_another(change: tuple[Any, ...]) -> None:
    """The previous hash, the position, the version and the time."""
    assert chain(*change, b"1]", b"{}") != chain(GENESIS, 1, 1, 5, b"1]", b"{}")


def test_a_call_is_prepared_then_it_holds_what_the_engine_needs() -> None:
    """Names checked, bytes encoded, sizes counted, given ids noted."""
    condition = AppendCondition(Query(types=("t",)), after=4)
    call = _one(
        Append(
            "s",
            [NewEvent("t", {"b": 1, "a": 2}, id="given"), NewEvent("t", 1)],
            Expected.NO_STREAM,
            condition,
        ),
        key="k",
    )
    (part,) = call.appends
    assert (call.tenant, call.key, call.key_scope) == ("default", "k", "s")
    assert (call.event_count, call.payload_bytes) == (2, len(b'{"a":2,"b":1}1'))
    assert list(call.given_ids) == ["given"]
    assert [event.id for event in part.events] == ["given", "e-000001"]
    assert part.events[0].payload == b'{"a":2,"b":1}'
    assert (part.queries, part.after) == ((Query(types=("t",)),), 4)
    many = prepare_many("default", [Append("s", [])], "k", NOTHING, SequentialIds())
    assert (many.key_scope, many.event_count) == (CALL_SCOPE, 0)


def test_a_call_is_sent_again_then_its_content_is_the_same_though_ids_differ() -> None:
    """Ids that the store makes are no content, wherever else the same text stands."""
    for stream in ("s", "e-000001", 'quo"te'):
        append = Append(stream, [NewEvent("t", "e-000001", tags=["e-000001"])])
        first, again = _one(append, "k"), _one(append, "k", prefix="other")
        assert first.content_hash == again.content_hash
    given = Append("s", [NewEvent("t", 1, id="a")])
    other = Append("s", [NewEvent("t", 1, id="b")])
    assert _one(given, "k").content_hash != _one(other, "k").content_hash


def test_events_are_cut_elsewhere_then_the_content_is_another() -> None:
    """One stream of two events is not two streams of one, nor one event of both."""

    def content(*appends: Append) -> Any:
        return prepare_many("d", list(appends), "k", NOTHING, SequentialIds()).content_hash

    a, b = NewEvent("t", "a"), NewEvent("t", "b")
    hashes = [
        content(Append("s", [a, b])),
        content(Append("s", [b, a])),
        content(Append("s", [a]), Append("r", [b])),
        content(Append("r", [a]), Append("s", [b])),
        content(Append("s", [a, b]), Append("r", [])),
        content(Append("s", [NewEvent("t", "ab")])),
    ]
    assert len(set(hashes)) == len(hashes)


def test_defaults_are_bound_then_what_the_append_says_goes_first() -> None:
    """And an empty name is a mistake to be told, not an absent one."""
    append = Append("s", [NewEvent("t", 1)], actor="own")
    (event,) = _one(append, actor="bound", correlation_id="run").appends[0].events
    assert (event.actor, event.correlation_id) == ("own", "run")
    for field in ("actor", "correlation_id", "causation_id"):
        with pytest.raises(InvalidEvent, match="0 bytes"):
            _one(Append("s", [NewEvent("t", 1)], **{field: ""}), **{field: "bound"})
    (event,) = _one(Append("s", [NewEvent("t", 1)], context={}), context={"a": 1}).appends[0].events
    assert event.context_json == "{}"


def test_a_registered_class_and_its_dict_are_prepared_then_tags_are_joined() -> None:
    """The event's own tags first, then the class's, each once."""
    with isolated_registry() as registry:

        class Made(msgspec.Struct, frozen=True):
            by: str

        registry.register(Made, "made", 2, lambda made: [f"by:{made.by}", "all"])
        append = Append("s", [NewEvent("made", {"by": "a"}, tags=["own", "all"]), Made("b")])
        first, second = _one(append).appends[0].events
    assert (first.tags, second.tags) == (("own", "all", "by:a"), ("by:b", "all"))
    assert (first.schema_version, second.schema_version) == (2, 2)
    assert second.payload == b'{"by":"b"}'


def test_the_class_gives_bad_tags_then_the_event_is_refused() -> None:
    """Tags of a class keep the rule of names."""
    for tags in ("word", [""], [f"t{n}" for n in range(101)], 5):
        with isolated_registry() as registry:

            class Made(msgspec.Struct, frozen=True):
                by: str = ""

            registry.register(Made, "made", 1, lambda made, tags=tags: tags)
            with pytest.raises(InvalidEvent, match="tag"):
                _one(Append("s", [Made()]))


def test_an_event_has_nothing_but_its_data_then_its_tail_is_the_one_of_the_long_way() -> None:
    """The short way to an envelope gives the bytes of the long one, escapes among them."""
    said = ("id-1", 'session/"42"', "message.ä", 3)
    assert plain_tail(*said) == envelope_tail(*said, None, None, None, None, None, None, None)


@pytest.mark.parametrize("names", [None, 0, False, "", b""])
def test_tags_or_sources_are_nothing_and_no_list_then_the_event_is_refused(names: Any) -> None:
    """What is falsy is no empty list of names: it is refused as everything else that is none."""
    for fields in ({"tags": names}, {"derived_from": names}):
        append = Append("s", [NewEvent("t", 1, **fields)])
        with pytest.raises(InvalidEvent, match="a list of names, not"):
            _one(append)
    for nothing in ([], (), {}, iter(())):
        append = Append("s", [NewEvent("t", 1, tags=nothing)])
        assert _one(append).appends[0].events[0].tags == ()
