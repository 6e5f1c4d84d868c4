"""What the check of handlers' source refuses, what it warns of, and what it lets pass."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import reducers.agent
from reducers import ImpurityWarning, Reducer, ReducerError, combine, unchecked
from reducers.linting import lint, unchecked_in
from reducers.linting import linter as linter_module

HEAD = """
import bisect, collections, contextvars, dataclasses, datetime as dt, functools, heapq
import hashlib, itertools, logging, math, os, pathlib
import numpy, operator, pydantic, random, re, secrets, socket, sqlite3, subprocess, sys, time, uuid
from datetime import datetime
from os import environ
from time import time as t
from typing import Any
import msgspec
from immutables import Map
from msgspec.structs import replace
from reducers import PersistentList, Reducer, unchecked

CACHE = {}
SEEN = set()
GROUPS = collections.defaultdict(list)
NESTED = {"a": {}}
LIMITS = {"a": 1}
WORDS = frozenset(("b", "a"))
NUMBERS = frozenset((1, 2))
dice = random.Random(4)
grains = numpy.random.default_rng(4)
ask = functools.partial(datetime.now, dt.UTC)
variable = contextvars.ContextVar("variable", default=1)
counter = itertools.count()
logger = logging.getLogger("mine")
connection = sqlite3.connect(":memory:")

class State(msgspec.Struct, frozen=True):
    tags: frozenset[str] = frozenset()
    items: tuple[Any, ...] = ()

    def stamped(self):
        return replace(self, items=(*self.items, time.time()))

    @property
    def first(self):
        return next(iter(self.tags))

    def __hash__(self):
        return hash(self.items)

class Model(pydantic.BaseModel):
    tags: set[str] = set()

@dataclasses.dataclass
class Made:
    name: str = "a"
    key: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

class Stamp(msgspec.Struct):
    at: float = msgspec.field(default_factory=time.time)

class Counting:
    total = 0

    def __init__(self):
        self.seen, self.names = [], ["a"]

    def count(self, state, event):
        self.n = 1

    def keep(self, state, event):
        self.seen.append(event)

    def later(self, state, event):
        return self.keep(state, event)

    @classmethod
    def shared(cls, state, event):
        cls.total += 1

    def pure(self, state, event):
        return [*self.names, self.own(event)]

    def own(self, event):
        return event["a"] in self.names

kept = Counting()

def timed(function):
    @functools.wraps(function)
    def wrapper(state, event):
        return function(state, event), time.time()
    return wrapper

def named(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

def late(clock, state, event):
    return clock()

r = Reducer("r", State())
"""

Loader = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Loader]:
    """Writes a module and imports it."""
    numbers = itertools.count()
    opened: list[ModuleType] = []

    def load_source(source: str) -> ModuleType:
        path = tmp_path / f"linted{next(numbers)}.py"
        path.write_text(HEAD + source)
        spec = importlib.util.spec_from_file_location("linted_module", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["linted_module"] = module
        opened.append(module)
        spec.loader.exec_module(module)
        return module

    yield load_source
    sys.modules.pop("linted_module", None)
    for module in opened:
        module.connection.close()


def handler(body: str) -> str:
    """A handler with these lines."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"\n@r.on('a')\ndef added(state, event):\n{lines}"


CERTAIN = {
    "clock": "return time.time()",
    "clock by another name": "return t()",
    "clock of a class": "return datetime.now()",
    "clock of a class in a module": "return dt.datetime.now(dt.UTC)",
    "day": "return dt.date.today()",
    "clock without its argument": "return time.gmtime()",
    "clock imported here": "from time import monotonic as m\nreturn m()",
    "clock under a local name": "now = time.time\nreturn now()",
    "clock in an inner function": "def inner():\n    return time.time_ns()\nreturn inner()",
    "clock in a default that is chosen": "return event.get('at') or time.time()",
    "random": "return random.choice([1, 2])",
    "generator without a seed": "return random.Random().random()",
    "generator of the module": "return dice.random()",
    "secret": "return secrets.token_hex()",
    "urandom": "return os.urandom(4)",
    "uuid": "return uuid.uuid4().hex",
    "environment": "return os.environ['HOME']",
    "environment by name": "return environ.get('HOME')",
    "getenv": "return os.getenv('HOME')",
    "host": "return socket.gethostname()",
    "file": "return open(event['path']).read()",
    "path": "return pathlib.Path('x').read_text()",
    "path under a name": "place = pathlib.Path('x')\nreturn place.exists()",
    "process": "return subprocess.run(['ls'])",
    "database": "return connection.execute('select 1')",
    "module's dict": "CACHE[event.id] = 1\nreturn state",
    "module's set": "SEEN.add(event.id)\nreturn state",
    "global": "global LIMITS\nLIMITS = {}\nreturn state",
    "class attribute": "State.seen = 1\nreturn state",
    "module's iterator": "return next(counter)",
    "id": "return id(event)",
    "ids": "return {id(event), 1}",
    "hash compared with what was kept": "return hash(event.id) == event['hash'] or hash('a') == 3",
    "hash of text": "return hash(str(event['a']))",
    "set as tuple": "return tuple(set(event['tags']))",
    "set in a state": "return State(items=tuple({*event['tags'], 'x'}))",
    "set joined": "return ','.join(set(event['tags']))",
    "set in a list comprehension": "return [each for each in WORDS]",
    "set from operators": "return list(event['a'].keys() & event['b'].keys())",
    "set in the state": "return list(state.tags)",
    "set unpacked": "return replace(state, items=(*state.tags,))",
    "method of the state": "return state.stamped()",
    "alias in an expression": "return (now := time.time)()",
    "member by its name": "return getattr(time, 'time')()",
    "partial of the module": "return ask()",
    "random of numpy": "return numpy.random.rand()",
    "generator of numpy": "return grains.random()",
    "arguments of the process": "return sys.argv[1]",
    "path of a path": "return (pathlib.Path('x') / 'y').parent.read_text()",
    "item of a kept container": "GROUPS['a'].append(1)\nreturn state",
    "item of an item": "NESTED['a']['b'] = 1\nreturn state",
    "container under a name": "held = NESTED['a']\nheld['b'] = 1\nreturn state",
    "handed to what changes it": "heapq.heappush(GROUPS['a'] and LIMITS, 1)\n"
    "operator.setitem(LIMITS, 'a', 2)\nreturn state",
    "class handed to setattr": "setattr(State, 'seen', 1)\nreturn state",
    "globals": "globals()['LIMITS'] = 1\nreturn state",
    "factory of a dataclass": "return Made('x').key",
    "factory of a struct": "return Stamp().at",
    "method of a kept object": "return kept.later(state, event)",
    "set of a model": "return list(Model().tags)",
    "set as text": "return str(set(event['a']))",
    "set in an f-string": "return f'{state.tags}'",
    "set under a name": "names = set()\nnames.add(event['a'])\nreturn list(names)",
}

LIKELY = {
    "print": "print(event)\nreturn state",
    "log": "logger.info('seen')\nreturn state",
    "loop over a set": "out = []\nfor each in WORDS:\n    out.append(each)\nreturn out",
    "first of a set": "return next(iter(WORDS))",
    "list of a set under a name": "names = list(WORDS)\nreturn names",
    "property of the state": "return state.first",
    "hash of anything": "return hash(event['a'])",
    "machine's zone": "return event.recorded_at.astimezone()",
    "machine's zone from a number": "return datetime.fromtimestamp(event['at'])",
    "eval": "return eval(event['a'])",
    "clock handed on": "return [time.time]",
    "first of the longest of a set": "return max(state.tags, key=len)",
    "context of decimals": "from decimal import getcontext\ngetcontext().prec = 3\nreturn state",
    "context variable": "return variable.get()",
    "platform": "return sys.platform",
    "log of the root": "logging.warning('x')\nreturn state",
    "item that may be a container": "CACHE['a'].append(1)\nreturn state",
    "pop of a set": "names = set(event['a'])\nreturn names.pop()",
    "ids under a name": "seen = {id(each) for each in event['a']}\nreturn id(state) in seen",
    "text of an object": "return repr(object())",
    "object in an f-string": "return f'{object()}'",
    "naive moment": "return datetime(2020, 1, 1).timestamp()",
}

PURE = {
    "local called random": "random = event['a']\nreturn random.choice",
    "parameter-like local": "time = event['at']\nreturn time.time()",
    "time with its argument": "return time.gmtime(event['at'])",
    "formatting": "return time.strftime('%Y', time.gmtime(0))",
    "generator with a seed": "return random.Random(event.id).random()",
    "zoned": "return datetime.fromtimestamp(event['at'], dt.UTC).astimezone(dt.UTC)",
    "delta": "return event.recorded_at + dt.timedelta(days=1)",
    "uuid of a name": "return uuid.uuid5(uuid.NAMESPACE_URL, event.id).hex",
    "path arithmetic": "return os.path.join('a', pathlib.Path('c').name)",
    "read of a constant": "return LIMITS.get('a', len(CACHE))",
    "copy of a constant": "found = dict(LIMITS)\nfound['b'] = 2\nfound.update(c=3)\nreturn found",
    "local set": "names = set()\nnames.add('x')\nreturn 'x' in names",
    "sorted set": "return sorted(set(event['tags']))",
    "sorted later": "names = list(set(event['tags']))\nnames.sort()\nreturn names",
    "sum over a set": "return sum(len(each) for each in WORDS)",
    "set of a set": "return {each.upper() for each in WORDS}",
    "join of sorted": "return ','.join(sorted(WORDS))",
    "numbers in a set": "return list(NUMBERS), list({1, 2})",
    "loop without order": "m = state\nfor each in WORDS:\n    m = m.delete(each)\nreturn m",
    "counting loop": "n = 0\nfor each in WORDS:\n    n += 1\nreturn n",
    "one in a set": "return list({event.id})",
    "identity compared": "return id(state) == id(event)",
    "ids counted": "return len({id(each) for each in state.items})",
    "ids counted of a set": "return len(set(id(each) for each in state.items))",
    "id in an error": "raise ValueError(f'{id(state)}')",
    "hashes compared": "return hash(event.id) == hash('a')",
    "moment with its zone": "return datetime(2020, 1, 1, tzinfo=dt.UTC).timestamp()",
    "hash of a number": "return hash(3)",
    "local next": "return next(each for each in (1, 2))",
    "hexdigest": "return hashlib.sha256(event.payload).hexdigest()",
    "map set": "return Map(a=1).set('b', 2).delete('a')",
    "local class": "class Local:\n    x = 1\nreturn Local.x",
    "walrus": "return [y for x in (1, 2) if (y := x)]",
    "own nonlocal": "n = 0\ndef add():\n    nonlocal n\n    n += 1\nadd()\nreturn n",
    "error": "raise subprocess.CalledProcessError(1, 'x')",
    "regular expression": "return re.sub('a', 'b', event['a'])",
    "open of another": "return event.data.open()",
    "annotation": "found: dict[str, Any] = {}\nfound['a'] = 1\nreturn found",
    "argument of the same name": "def inner(open):\n    return open(1)\nreturn inner(str)",
    "method not called": "return State(items=(state.items,))",
    "hash of a struct": "return {state: 1}[state]",
    "copy of what is kept": "found = [*GROUPS['a']]\nfound.append(1)\nreturn found",
    "local object": "made = Made(key='x')\nmade.name = 'b'\nsetattr(made, 'c', 1)\nreturn made.key",
    "factory not asked": "return Made('x', 'y').key, Stamp(event['at']).at, Stamp(at=1.0).at",
    "local heap": "heap = []\nheapq.heappush(heap, 1)\nlist.append(heap, 2)\nreturn heap",
    "set in an error": "raise ValueError(f'missing {state.tags}')",
    "method of a kept object that only reads": "return kept.pure(state, event)",
    "model": "return Model(tags=event['a']).tags | state.tags",
    "largest of a set": "return max(state.tags)",
}


REGISTERED_CERTAIN = {
    "default that is called": "r.on('a')(lambda s, e, now=time.time: now())",
    "default by name that is called": "r.on('a')(lambda s, e, *, now=time.time: now())",
    "default that is changed": "def h(s, e, seen=[]):\n    seen.append(1)\nr.on('a')(h)",
    "default that is set in": "def h(s, e, seen={}):\n    seen[e.id] = 1\nr.on('a')(h)",
    "own attribute": "r.on('a')(kept.count)",
    "own list": "r.on('a')(kept.keep)",
    "own list of a callable": "Counting.__call__ = Counting.keep\nr.on('a')(kept)",
    "own method": "r.on('a')(kept.later)",
    "own class": "r.on('a')(Counting.shared)",
    "partial of a clock": "r.on('a')(functools.partial(late, time.time))",
    "partial of a clock by name": "r.on('a')(functools.partial(lambda s, e, t: t(), t=time.time))",
    "wrapper": "r.on('a')(timed(lambda s, e: s))",
    "wrapped": "r.on('a')(named(lambda s, e: time.time()))",
    "table": "TABLE = {'a': time.time}\nr.on('a')(lambda s, e: TABLE['a']())",
}

REGISTERED_PURE = {
    "default": "r.on('a')(lambda s, e, limit=3, f=len: f(e) + limit)",
    "default bound anew": "def h(s, e, seen=[]):\n"
    "    seen = [*seen]\n    seen.append(1)\nr.on('a')(h)",
    "own members": "r.on('a')(kept.pure)",
    "partial": "r.on('a')(functools.partial(late, dict))",
    "wrapper": "r.on('a')(named(lambda s, e: s))",
    "default of a helper": "def h(xs=[]):\n    return [*xs, 1]\nr.on('a')(lambda s, e: h())",
    "base of another package": "class Sub(Model):\n    pass\nr.on('a')(lambda s, e: Sub())",
}


@pytest.mark.parametrize("source", REGISTERED_CERTAIN.values(), ids=REGISTERED_CERTAIN)
def test_what_a_handler_is_bound_to_is_impure_then_refused(load: Loader, source: str) -> None:
    """Defaults, the object of a method, a partial's arguments and wrappers are looked at."""
    with pytest.raises(ReducerError, match=r"not deterministic.*linted0\.py, line \d+"):
        load(source)


@pytest.mark.parametrize("source", REGISTERED_PURE.values(), ids=REGISTERED_PURE)
def test_what_a_handler_is_bound_to_is_pure_then_nothing_is_said(load: Loader, source: str) -> None:
    """To be bound to something is no fault."""
    assert list(load(source).r.handlers) == ["a"]


def test_a_default_of_a_helper_asks_the_clock_then_it_is_a_warning(load: Loader) -> None:
    """Its callers may give another."""
    with pytest.warns(ImpurityWarning, match="reads the clock"):
        load("def h(now=time.time):\n    return now()\nr.on('a')(lambda s, e: h(lambda: 3))")


def test_a_helper_lies_beside_the_reducer_then_it_is_read(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files in one folder are one project, although no package says so."""
    (tmp_path / "beside.py").write_text("import time\ndef stamp():\n    return time.time()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ReducerError, match=r"beside\.py, line 3, in stamp"):
        load("import beside\nr.on('a')(lambda s, e: beside.stamp())")
    sys.modules.pop("beside")


@pytest.mark.parametrize("body", CERTAIN.values(), ids=CERTAIN)
def test_a_handler_is_certainly_impure_then_refused_with_its_line(load: Loader, body: str) -> None:
    """The error comes at registration, and names handler, file, line and reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImpurityWarning)
        with pytest.raises(ReducerError, match=r"added.*not deterministic.*linted0\.py, line \d+"):
            load(handler(body))


@pytest.mark.parametrize("body", LIKELY.values(), ids=LIKELY)
def test_a_handler_is_likely_impure_then_it_is_warned_of(load: Loader, body: str) -> None:
    """A warning, which the user's own filters rule, and no error."""
    with pytest.warns(ImpurityWarning, match="may not be deterministic"):
        module = load(handler(body))
    assert list(module.r.handlers) == ["a"]


@pytest.mark.parametrize("body", PURE.values(), ids=PURE)
def test_a_handler_is_pure_then_nothing_is_said(load: Loader, body: str) -> None:
    """To refuse a pure handler is a defect: what looks alike passes."""
    assert list(load(handler(body)).r.handlers) == ["a"]


def test_the_line_is_told_then_it_is_that_of_the_call(load: Loader) -> None:
    """Not that of the function."""
    body = "found = 1\nreturn found + time.time()"
    line = (HEAD + handler(body)).split("\n").index("    return found + time.time()") + 1
    with pytest.raises(ReducerError, match=rf"time\.time\(\) reads the clock.*line {line}, in add"):
        load(handler(body))


HELPER = "\ndef helper(when=None):\n    return time.time()\n"


@pytest.mark.parametrize(
    "call", ["return helper()", "return list(map(helper, (1,)))", "return Other().ask()"]
)
def test_a_function_of_the_package_is_impure_then_who_names_it_is_refused(
    load: Loader, call: str
) -> None:
    """Functions, and methods of classes, that stand above are looked at in registration."""
    other = "\nclass Other:\n    def ask(self):\n        return helper()\n"
    with pytest.raises(ReducerError, match="in helper"):
        load(HELPER + other + handler(call))


def test_a_helper_stands_below_then_the_first_fold_refuses(load: Loader) -> None:
    """What is not defined yet when the handler is registered is looked at before it runs."""
    module = load(handler("return helper()") + HELPER)
    with pytest.raises(ReducerError, match="in helper"):
        module.r.steps()


def test_a_helper_asks_the_clock_only_at_times_then_it_is_a_warning(load: Loader) -> None:
    """Its callers may be those who never let it come to that."""
    helper = "\ndef helper(when=None):\n    return when or time.time()\n"
    with pytest.warns(ImpurityWarning, match="in helper"):
        load(helper + handler("return helper(event.recorded_at)"))


def test_a_closure_holds_something_impure_then_it_is_seen(load: Loader) -> None:
    """Captured names are looked up as globals are, and lambdas and partials read as functions."""
    closure = (
        "\ndef make(ask):\n    @r.on('a')\n    def added(state, event):\n        return ask()\n"
    )
    with pytest.raises(ReducerError, match=r"ask\(\) reads the clock"):
        load(closure + "make(time.time)")
    assert load(closure + "make(dict)").r.steps()
    with pytest.raises(ReducerError, match="reads the clock"):
        load("r.on('a')(lambda s, e: s), r.on('b')(lambda s, e: time.time())")
    with pytest.raises(ReducerError, match="reads the clock"):
        load("def late(x, s, e):\n    return time.time()\nr.on('a')(functools.partial(late, 1))")


def test_a_handler_is_unchecked_then_it_is_registered_and_listed(load: Loader) -> None:
    """The reason stays with the function, for handlers and for what they name."""
    module = load(
        "@unchecked(reason='only a cache')\ndef cached(key):\n    CACHE[key] = 1\n    return key\n"
        "@r.on('b')\n@unchecked(reason='for show')\n"
        "def shown(state, event):\n    return time.time()\n" + handler("return cached(event.id)")
    )
    listed = unchecked_in(combine("all", part=module.r))
    assert [(each.function, each.reason) for each in listed] == [
        ("cached", "only a cache"),
        ("shown", "for show"),
    ]
    assert all(each.reducer == "r" and each.file and each.line for each in listed)
    assert module.shown.__unchecked__ == "for show"


def test_a_whole_reducer_is_unchecked_then_it_takes_what_it_is_given_and_is_listed(
    load: Loader,
) -> None:
    """For code that was proved otherwise; what is neither reducer nor function is refused."""
    module = load("unchecked(reason='proved')(r)\nr.on('a')(lambda s, e: time.time())")
    (listed,) = unchecked_in(module.r)
    assert (listed.reducer, listed.function, listed.reason) == ("r", "every handler", "proved")
    with pytest.raises(ReducerError, match="a function or a reducer"):
        unchecked(reason="no function")(ModuleType("m"))


@pytest.mark.parametrize("reason", ["", "  ", None, 3])
def test_no_reason_is_given_then_unchecked_is_refused(reason: Any) -> None:
    """Who looks at the list later shall know why."""
    with pytest.raises(ReducerError, match="reason"):
        unchecked(reason=reason)


def test_there_is_no_source_then_it_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that was typed in, or made by exec, is taken as it is."""
    monkeypatch.setattr(linter_module, "_sourceless_told", False)
    source = "import time\ndef first(state, event): return time.time()\nother = lambda s, e: s"
    made = ModuleType("made")
    exec(source, vars(made))  # noqa: S102 -- this is how there is no source
    reducer = Reducer("typed", 0)
    with caplog.at_level(logging.WARNING, "eventstore"):
        reducer.on("a")(made.first)
        reducer.on("b")(made.other)
    assert [each.getMessage().count("no source") for each in caplog.records] == [1]


def test_stock_reducers_are_read_then_nothing_is_found() -> None:
    """They are not read in each process, because they are read here."""
    for part in reducers.agent.agent.parts.values():
        for handler in part.handlers.values():
            found = lint(handler.function, part.state_type)
            assert (found.findings, found.unchecked, found.missing) == ([], [], set())
            assert found.source
