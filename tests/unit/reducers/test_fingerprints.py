"""What a fingerprint depends on."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import linecache
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from immutables import Map
from pydantic import BaseModel

from eventstore import event_type, upcast
from eventstore.registry import isolated_registry
from reducers import Reducer, combine

SOURCE = """
import functools
import msgspec
from reducers import Reducer

LIMIT = 10

class State(msgspec.Struct, frozen=True):
    total: int = 0

    def plus(self, number):
        return State(self.total + number)

def scaled(number):
    return inner(number)

def inner(number):
    return min(number * 2, LIMIT)

def unused(number):
    return number * 3

def make():
    r = Reducer("r", State())

    @r.on("a")
    def added(state, event):
        return state.plus(scaled(event["n"]))

    return r
"""

EDITED_LATER = SOURCE.replace(
    "number * 2", "number * 2 + (lambda n: n * 7 + n.real + (n in {3, 5}))(number)"
)
ROOT = Path(__file__).parents[3]
Loader = Callable[..., ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Loader]:
    """Writes a module's source to a new file of the same module name, and imports it."""
    numbers = itertools.count()

    def load_source(source: str) -> ModuleType:
        path = tmp_path / str(next(numbers)) / "board_under_test.py"
        path.parent.mkdir()
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("board_under_test", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["board_under_test"] = module
        spec.loader.exec_module(module)
        return module

    yield load_source
    sys.modules.pop("board_under_test", None)


def mark(module: ModuleType) -> str:
    reducer: Reducer[object] = module.make()
    return reducer.fingerprint()


def test_code_is_loaded_again_then_the_fingerprint_is_the_same(load: Loader) -> None:
    """The same source gives the same fingerprint, wherever its file lies."""
    assert mark(load(SOURCE)) == mark(load(SOURCE))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state.plus(scaled", "state.plus(1 + scaled"),
        ("return inner(number)", "return inner(number + 1)"),
        ("number * 2", "number * 4"),
        ("LIMIT = 10", "LIMIT = 11"),
        ("self.total + number", "self.total - number"),
        ("total: int = 0", "total: int = 1"),
        ("total: int = 0", "total: float = 0"),
        ("total: int = 0", "total: int = 0\n    other: int = 0"),
        ('Reducer("r", State())', 'Reducer("r", State(), version=2)'),
        ('Reducer("r", State())', 'Reducer("r", State(5))'),
        ('Reducer("r", State())', 'Reducer("r", State(), state_type=State | None)'),
        ('@r.on("a")', '@r.on("a")\n    @r.on("b")'),
    ],
)
def test_something_that_the_state_depends_on_changes_then_the_fingerprint_does(
    load: Loader, old: str, new: str
) -> None:
    """Handlers, what they name, what that names, constants, the state's class, initial state and
    version: a change of any gives another fingerprint."""
    assert old in SOURCE
    assert mark(load(SOURCE)) != mark(load(SOURCE.replace(old, new)))


@pytest.mark.parametrize("old", ["number * 3", 'Reducer("r"'])
def test_something_else_changes_then_the_fingerprint_does_not(load: Loader, old: str) -> None:
    """A function that nothing names, and the reducer's name, are no part of it."""
    new = {"number * 3": "number * 5", 'Reducer("r"': 'Reducer("s"'}[old]
    assert mark(load(SOURCE)) == mark(load(SOURCE.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("number * 2", "number + 2"),
        ("number * 2", "number * 4"),
        ("min(number", "max(number"),
        ("n * 7", "n * 8"),
        ("n.real", "n.imag"),
        ("{3, 5}", "{3, 6}"),
    ],
)
def test_file_is_edited_after_loading_then_the_fingerprint_is_not_that_of_the_new_code(
    load: Loader, old: str, new: str
) -> None:
    """Old code that runs on must not keep snapshots under the name of the new code, also where
    only a constant or a name differs."""
    assert old in EDITED_LATER
    running = load(EDITED_LATER)
    edited = EDITED_LATER.replace(old, new)
    assert running.__file__ is not None
    Path(running.__file__).write_text(edited)
    linecache.checkcache()
    assert mark(running) != mark(load(edited))


def test_process_has_another_hash_seed_then_the_fingerprint_is_the_same(tmp_path: Path) -> None:
    """Sets among a handler's constants have another order in each process, and count the same."""
    (tmp_path / "board.py").write_text(
        SOURCE.replace("number * 2", "number in {'a', 'b', 'c', 'd', 'e', 'f'}")
        + "\nprint(make().fingerprint())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, str(tmp_path / "board.py")],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_source_cannot_be_had_then_the_version_alone_counts() -> None:
    """Code without a file is told apart by its version only; its initial state is still seen."""

    def made(body: str, version: int, initial: int = 0) -> str:
        scope: dict[str, object] = {}
        exec(f"def handler(state, event): return {body}", scope)  # noqa: S102  # that is the test
        reducer = Reducer("r", initial, version=version)
        reducer.on("a")(scope["handler"])
        return reducer.fingerprint()

    assert made("state + 1", 1) == made("state + 2", 1)
    assert made("state + 1", 1) != made("state + 1", 2)
    assert made("state + 1", 1) != made("state + 1", 1, initial=5)


def test_upcasters_or_event_class_change_then_the_fingerprint_does() -> None:
    """The schema of handled events counts; that of others does not."""
    reducer = Reducer("r", 0)
    reducer.on("a")(lambda state, event: state + 1)
    plain = reducer.fingerprint()
    upcast("b", from_version=1)(lambda data: data)
    assert reducer.fingerprint() == plain
    upcast("a", from_version=1)(lambda data: data)
    once = reducer.fingerprint()
    upcast("a", from_version=2)(lambda data: {**data})
    assert len({plain, once, reducer.fingerprint()}) == 3


def test_event_class_gets_another_field_then_the_fingerprint_changes() -> None:
    """A typed handler's event class is part of it."""

    def marked(*fields: str) -> str:
        cls = msgspec.defstruct("Added", [(name, int) for name in fields], frozen=True)
        with isolated_registry():
            event_type("added")(cls)
            reducer = Reducer("r", 0)
            reducer.on(cls)(_typed)
            return reducer.fingerprint()

    assert marked("n") == marked("n")
    assert marked("n") != marked("n", "m")


TYPED = """
import functools
import msgspec
from pydantic import BaseModel, computed_field
from eventstore import event_type
from eventstore.registry import isolated_registry
from reducers import Reducer

RATE = 2

class Line(msgspec.Struct, frozen=True):
    price: int

    def gross(self):
        return with_tax(self.price)

def with_tax(price):
    return price + 19

class Base(msgspec.Struct, frozen=True):
    lines: list[Line]

    def doubled(self):
        return self.total * RATE

class Ordered(Base, frozen=True):
    @property
    def total(self):
        return sum(line.gross() for line in self.lines)

class Paid(BaseModel):
    cents: int

    @computed_field
    def euros(self) -> float:
        return self.cents / 100

    @functools.cached_property
    def rounded(self):
        return round(self.euros, 1)

    @staticmethod
    def sign():
        return "EUR"

def make():
    with isolated_registry():
        event_type("ordered")(Ordered)
        event_type("paid")(Paid)
        r = Reducer("r", 0)
        r.on(Ordered)(lambda state, event: state + event.data.doubled())
        r.on(Paid)(lambda state, event: state - event.data.rounded)
    return r
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("line.gross() for", "line.price for"),
        ("with_tax(self.price)", "with_tax(-self.price)"),
        ("price + 19", "price + 20"),
        ("self.total * RATE", "self.total + RATE"),
        ("RATE = 2", "RATE = 3"),
        ("self.cents / 100", "self.cents / 1000"),
        ("round(self.euros, 1)", "round(self.euros, 2)"),
        ('"EUR"', '"USD"'),
    ],
)
def test_event_class_computes_otherwise_then_the_fingerprint_changes(
    load: Loader, old: str, new: str
) -> None:
    """What an event's methods and properties give to a handler is part of its state."""
    assert old in TYPED
    assert mark(load(TYPED)) == mark(load(TYPED))
    assert mark(load(TYPED)) != mark(load(TYPED.replace(old, new)))


def _typed(state: int, event: object) -> int:
    return state


def test_handler_is_added_then_the_fingerprint_changes() -> None:
    """A fingerprint that was asked for early does not stick."""
    reducer = Reducer("r", 0)
    before = reducer.fingerprint()
    reducer.on("a")(_typed)
    assert reducer.fingerprint() != before


def test_part_changes_then_the_combined_fingerprint_does() -> None:
    """A combined reducer depends on its version and on each part, by name."""

    def marks(part_version: int, version: int, name: str) -> str:
        part = Reducer("part", 0, version=part_version)
        part.on("a")(_typed)
        return combine("both", version=version, **{name: part}).fingerprint()

    found = {marks(1, 1, "x"), marks(2, 1, "x"), marks(1, 2, "x"), marks(1, 1, "y")}
    assert len(found) == 4
    assert marks(1, 1, "x") == marks(1, 1, "x")


METHODS = """
from typing import ClassVar
import msgspec
from reducers import Reducer

class Base:
    offset = 5

class Rules(Base):
    rate = 2
    _names = ("a", "b")

    def __init__(self, factor):
        self.factor = factor

    def added(self, state, event):
        return state.plus(self.helped(event["n"]))

    def helped(self, number):
        return number * self.rate * self.factor + self.offset + len(self._names)

    def __call__(self, state, event):
        return self.added(state, event)

    @classmethod
    def of_class(cls, state, event):
        return state.plus(cls.rate)

class State(msgspec.Struct, frozen=True):
    limit: ClassVar[int] = 100
    total: int = 0

    def plus(self, number):
        return State(min(self.total + number, self.limit))

def make():
    r = Reducer("r", State())
    r.on("a")(HANDLER)
    return r
"""


@pytest.mark.parametrize("handler", ["Rules(7).added", "Rules(7)", "Rules.of_class"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rate = 2", "rate = 3"),
        ("offset = 5", "offset = 6"),
        ('_names = ("a", "b")', '_names = ("a", "c")'),
        ("limit: ClassVar[int] = 100", "limit: ClassVar[int] = 101"),
        ("Rules(7)", "Rules(8)"),
    ],
)
def test_what_a_method_reaches_through_self_changes_then_the_fingerprint_does(
    load: Loader, handler: str, old: str, new: str
) -> None:
    """Constants of a class and of its bases, of the state's class, and of the instance."""
    source = METHODS.replace("HANDLER", handler)
    assert mark(load(source)) == mark(load(source))
    changed = source.replace(old, new)
    assert (mark(load(source)) != mark(load(changed))) == (source != changed)


class _Struct(msgspec.Struct, frozen=True):
    left: Any
    right: Any


class _Model(BaseModel):
    left: Any
    right: Any


@dataclasses.dataclass(slots=True)
class _Dataclass:
    left: Any
    right: Any


PAIRS: dict[str, Callable[[Any], Any]] = {
    "lists": lambda inner: [inner, inner],
    "dicts": lambda inner: {"a": inner, "b": inner},
    "maps": lambda inner: Map(a=inner, b=inner),
    "structs": lambda inner: _Struct(inner, inner),
    "models": lambda inner: _Model.model_construct(left=inner, right=inner),
    "dataclasses": lambda inner: _Dataclass(inner, inner),
}


class _Rules:
    def __init__(self, table: Any) -> None:
        self.table = table

    def counted(self, state: int, event: object) -> int:
        return state + len(self.table)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize("depth", [0, 150])
def test_a_value_shares_its_parts_without_end_then_the_fingerprint_is_still_made(
    pair: Callable[[Any], Any], depth: int
) -> None:
    """2**50 parts stand in it for whoever walks them, however deep down: each is looked at once.
    So it is for an instance's attributes, and for the state that a reducer begins with."""
    value: Any = "x"
    for _ in range(50):
        value = pair(value)
    for _ in range(depth):
        value = [value]
    reducer = Reducer("r", 0)
    reducer.on("a")(_Rules(value).counted)
    assert len(reducer.fingerprint()) == 32
    assert len(Reducer("r", value).fingerprint()) == 32
