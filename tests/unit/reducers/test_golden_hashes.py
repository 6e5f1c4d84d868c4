"""Hashes that are written down: who runs another Python, or another machine, sees the same ones.

`make pythons` runs this on each Python that is there.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from immutables import Map
from pydantic import BaseModel

from eventstore import NewEvent
from reducers import PersistentList, Reducer, fold, state_hash
from reducers.checking import recorded


class Colour(enum.Enum):
    RED = "red"


class Line(msgspec.Struct, frozen=True, tag="line"):
    price: Decimal
    at: datetime
    colours: frozenset[Colour] = frozenset({Colour.RED})


class Person(BaseModel):
    born: date
    id: UUID
    nick: str | None = None


@dataclasses.dataclass(frozen=True)
class Place:
    lat: float
    names: tuple[str, ...]


GOLDEN = {
    "struct": (
        Line(Decimal("1.10"), datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)),
        "58b8baad10dd24c242e3df6983f6069489f612b0a779e5f9aec2f597b4cf1edc",
    ),
    "model": (
        Person(born=date(1990, 5, 6), id=UUID(int=7)),
        "7f55315e1c94dd98c90679da5b1aad2bf414d6868b3dbe6b3276232ce604ee80",
    ),
    "dataclass": (
        Place(-0.0, ("Zürich", "東京", "\u2028\x00\U0001f600")),
        "d8390e8e94fd4a5ff7e63a65a95c2042c734dcaf128fc59473a781f8ee7044c9",
    ),
    "floats": (
        [0.1 + 0.2, 1e300, 5e-324, -1.5, 1e16, 1e22, 123456789.12345679, 1e-7],
        "45147733764ab5432c6827c7da94667a624138c506f251b4cdb23eaefd201902",
    ),
    "integers": (
        [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)],
        "c42af06e91bb8fd9daefd087c60a778fee57cdd43e6749904d589d96c12811cd",
    ),
    "no number": (
        [math.nan, math.inf, None],
        "fe44a8cccd89edae70b54c5e58399979bd7d8b12643a8396ad62d089a781b692",
    ),
    "containers": (
        Map({"b": PersistentList([1, True, None]), "a": {3, 1, 2}, "c": ()}),
        "c94e997fbd083a82324c295971dbcfe6c2981ec0378a660f3aff0be56f3a0551",
    ),
    "keys": (
        {1: "int", 2.5: "float", date(2026, 1, 1): "date", Colour.RED: "enum"},
        "edbae3cff7c4799c131b7e0895cd2dfcbee1b816caac6d4c6fcfc5cc2213de66",
    ),
    "times": (
        [timedelta(hours=1, seconds=0.5), time(1, 2, 3), date(2026, 2, 28), b"bytes"],
        "8a96b65048bab9ced2c2229de23c7c0d7a445fd8cc2bb9da4119ff44ad580750",
    ),
    "words": (
        {f"word{number}" for number in range(20)},
        "c9519beaf36d69d92f03d481fb98452213cb2080fcb0c6e718b2132f4dfbad33",
    ),
}


@pytest.mark.parametrize(("state", "golden"), GOLDEN.values(), ids=GOLDEN)
def test_state_is_hashed_then_the_hash_is_the_one_written_down(state: Any, golden: str) -> None:
    """Kinds of values that one Python, or one release of a library, might write otherwise."""
    assert state_hash(state) == golden


def test_events_are_folded_then_the_state_has_the_hash_written_down() -> None:
    """Handlers sort, round, sum and format: what a state is made with gives the same everywhere."""
    reducer = Reducer("sums", {"total": 0.0, "names": [], "told": ""})

    @reducer.on("paid")
    def paid(state: Any, event: Any) -> Any:
        total = state["total"] + event["euro"]
        names = sorted({*state["names"], event["name"]}, key=lambda name: (name.casefold(), name))
        return {"total": round(total, 7), "names": names, "told": f"{total:,.3f} {total!r}"}

    paid_events = [NewEvent("paid", {"euro": n / 7, "name": f"n{n % 3}"}) for n in range(1, 30)]
    assert state_hash(fold(recorded(paid_events), reducer)) == FOLDED


FOLDED = "51093f65669c3d6fe94695718b874d9d75ce99db4a4b8394be8a021f913ffcec"
