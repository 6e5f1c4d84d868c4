"""What a snapshot depends on: the code that made it, as far as that code can be seen.

A fingerprint covers the reducer's version, its initial state and state type, its handlers'
source, the functions, classes and constants of the same package that they name (and those that
these name; of a class its own constants, of a method's instance its plain attributes), and the
schema versions, classes and upcasters of the handled types. Code reached in
other ways (another package, a name looked up at run time) is not seen: raise `version` when it
changes.
"""

from __future__ import annotations

import functools
import inspect
import linecache
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, get_args

from eventstore.registry import registry

from .errors import ReducerError
from .json_form import bounded_hash
from .schemas import constant_text, field_types, schema_text

if TYPE_CHECKING:
    from .reducer import Handler, Reducer


_NAMING = {"stream", "getattr", "attrgetter", "asdict", "astuple", "to_builtins", "vars", "repr"}
"""Names in code that gets, or may get, the name of an event's stream from the event."""


class _NoSource(Exception):
    """A function without source: typed in, frozen, or made by exec."""


def fingerprint(reducer: Reducer[Any]) -> str:
    """32 hex digits for the reducer as it is now. Where the source of a handler cannot be had
    (an interactive session, a frozen program), the version alone stands for the code."""
    lines = [*_initial(reducer)]
    with suppress(_NoSource):
        lines += [*_code(reducer, _Reader()), *_upcasts(reducer.handlers, _Reader())]
    return _digest(reducer.version, lines)


def sees_streams(reducer: Reducer[Any]) -> bool:
    """Whether a handler, or an upcaster, may look at the name of an event's stream: the one thing
    that an inherited event shows differently in a fork. Where it cannot be told, it may."""
    from .sightings import may_see_stream  # the linter that it is made of imports this module

    reader = _Reader()
    try:
        for _ in (*_code(reducer, reader), *_upcasts(reducer.handlers, reader)):
            pass
    except _NoSource:
        return True
    if not reader.names.isdisjoint(_NAMING):
        return True
    return may_see_stream(handler.function for handler in reducer.handlers.values())


def functions_fingerprint(
    version: int, functions: Mapping[str, Any], handlers: Mapping[str, Handler]
) -> str:
    """The same for code that is not a reducer's: functions by the name of what they are for, and
    handlers by event type."""
    lines: list[str] = []
    reader = _Reader()
    with suppress(_NoSource):
        for name, function in sorted(functions.items()):
            lines += [f"function {name}", *reader.read(function)]
        for name, handler in sorted(handlers.items()):
            lines += [f"handler {name}", *reader.read(handler.function)]
        lines += _upcasts(handlers, _Reader())
    return _digest(version, lines)


def _digest(version: int, lines: Iterable[str]) -> str:
    digest = sha256(f"version {version}\n".encode())
    for line in lines:
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()[:32]


def _initial(reducer: Reducer[Any]) -> Iterator[str]:
    yield f"state {schema_text(reducer.state_type)}"
    try:
        yield bounded_hash(reducer.initial)
    except ReducerError:
        # Such a state gets no snapshot either.
        yield "no JSON form"


def _code(reducer: Reducer[Any], reader: _Reader) -> Iterator[str]:
    for name, handler in sorted(reducer.handlers.items()):
        yield f"handler {name}"
        yield from reader.read(handler.function)
    yield from reader.read_type(reducer.state_type)


def _upcasts(handlers: Mapping[str, Handler], reader: _Reader) -> Iterator[str]:
    for name, handler in sorted(handlers.items()):
        yield f"event {name} version {registry.current_version(name)}"
        if handler.cls is not None:
            yield schema_text(handler.cls)
            # A handler may ask its event's methods and properties.
            yield from reader.read_type(handler.cls)
        for version, step in sorted(registry.upcasters.get(name, {}).items()):
            yield f"upcast {version}"
            yield from reader.read(step)


class _Reader:
    """Collects source, each function and class once, following the names that it uses; `names`
    are those and the texts in it."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.names: set[str] = set()

    def read(self, function: Any) -> Iterator[str]:
        """The source of a callable and of what it names in its own package."""
        function = inspect.unwrap(function)
        if isinstance(function, functools.partial):
            yield f"partial {constant_text(function.args)} {constant_text(function.keywords)}"
            yield from self.read(function.func)
            return
        if inspect.ismethod(function):
            yield from self._read_owner(function.__self__)
            function = function.__func__
        if not isinstance(function, FunctionType):
            if isinstance(function, type) or not _has_source(type(function)):
                raise _NoSource
            yield from self._read_owner(function)
            return
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        self.names.update(_names(function.__code__), _texts(function.__code__))
        yield _source(function)
        yield constant_text(function.__defaults__)
        yield constant_text(function.__kwdefaults__)
        package = package_of(function.__module__)
        for name, value in _named(function):
            yield from self._named_value(name, value, package)

    def _read_owner(self, owner: Any) -> Iterator[str]:
        """What a method may reach through `self`: the class, and what stands on the instance."""
        if isinstance(owner, type):
            yield from self.read_type(owner)
            return
        yield from self.read_type(type(owner))
        yield f"self = {constant_text(owner)}"
        for name, value in sorted(getattr(owner, "__dict__", {}).items()):
            yield f"self.{name} = {constant_text(value)}"

    def _named_value(self, name: str, value: Any, package: str) -> Iterator[str]:
        if isinstance(value, type):
            if package_of(value.__module__) == package:
                yield from self.read_type(value)
        elif isinstance(value, (FunctionType, functools.partial)) or inspect.ismethod(value):
            if package_of(getattr(inspect.unwrap(value), "__module__", None)) == package:
                yield from self.read(value)
        elif not isinstance(value, ModuleType):
            yield f"{name} = {constant_text(value)}"

    def read_type(self, cls: Any) -> Iterator[str]:
        """A class's schema, methods and constants; for an annotation, those of the classes in
        it."""
        for inner in get_args(cls):
            yield from self.read_type(inner)
        if not isinstance(cls, type) or id(cls) in self._seen or not _has_source(cls):
            return
        self._seen.add(id(cls))
        yield f"class {cls.__qualname__} {schema_text(cls)}"
        for name, member in sorted(vars(cls).items()):
            for function in _functions(member):
                # Methods without source are generated from the fields, which stand above.
                if function.__module__ == cls.__module__ and lines_of(function):
                    yield f"method {name}"
                    yield from self.read(function)
            if not name.startswith("__") and not hasattr(type(member), "__get__"):
                yield from self._named_value(name, member, package_of(cls.__module__))
        for base in cls.__bases__:
            if package_of(base.__module__) == package_of(cls.__module__):
                yield from self.read_type(base)
        for annotation in field_types(cls):
            yield from self.read_type(annotation)


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Global and captured values that a function's code names, modules' members included."""
    names = sorted(set(_names(function.__code__)))
    captured = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            captured[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    package = package_of(function.__module__)
    scope = ChainMap(captured, function.__globals__)
    for name in names:
        if name not in scope:
            continue
        value = scope[name]
        yield name, value
        if isinstance(value, ModuleType) and package_of(value.__name__) == package:
            for member in names:
                if hasattr(value, member):
                    yield f"{name}.{member}", getattr(value, member)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _texts(code: CodeType) -> Iterator[str]:
    """The constants that are strings, so that none of them can name an attribute unseen."""
    waiting: list[Any] = list(code.co_consts)
    while waiting:
        constant = waiting.pop()
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _texts(constant)
        elif isinstance(constant, (tuple, frozenset)):
            waiting += constant  # keywords of a call, or of a pattern


def _source(function: FunctionType) -> str:
    """The lines of a function, and its byte code: the file may have been edited since it was
    loaded, and then the lines are not what runs."""
    lines = lines_of(function)
    if not lines:
        raise _NoSource
    return f"{''.join(lines)}{sha256(_byte_code(function.__code__)).hexdigest()}"


def lines_of(function: FunctionType) -> list[str]:
    """The source lines of a function; none where they cannot be had."""
    # From the code's own line numbers: inspect.getsource parses the file again for each function.
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    last = _last_line(code)
    return lines[code.co_firstlineno - 1 : last] if len(lines) >= last else []


def _last_line(code: CodeType) -> int:
    ends = [end for _, end, _, _ in code.co_positions() if end is not None]
    inner = [_last_line(each) for each in code.co_consts if isinstance(each, CodeType)]
    return max([code.co_firstlineno, *ends, *inner])


def _byte_code(code: CodeType) -> bytes:
    """Everything that decides what a code object does; the instructions alone hold numbers of
    constants and names. Arguments and variables are named for calls by keyword."""
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    constants = [_constant(each) for each in code.co_consts]
    text = f"{names} {counts} {constants}".encode("utf-8", "backslashreplace")
    return b"".join((code.co_code, code.co_exceptiontable, text))


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return sha256(_byte_code(value)).hexdigest()
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    if isinstance(value, frozenset):
        # Its order hangs on the process's hash seed.
        return f"{{{', '.join(sorted(map(_constant, value)))}}}"
    return repr(value)


def _functions(member: Any) -> list[FunctionType]:
    found: list[Any]
    if isinstance(member, property):
        found = [member.fget, member.fset]
    elif isinstance(member, (staticmethod, classmethod)):
        found = [member.__func__]
    elif isinstance(member, functools.cached_property):
        found = [member.func]
    else:
        found = [member]
    return [each for each in found if isinstance(each, FunctionType)]


def _has_source(cls: type) -> bool:
    return package_of(cls.__module__) not in ("builtins", "immutables", "msgspec", "pydantic")


def package_of(module: str | None) -> str:
    """The top-level package of a module."""
    return (module or "").partition(".")[0]
