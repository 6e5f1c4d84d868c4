"""Finding code by what a person types: ``file.py:name`` or ``module:name``; a reducer also by its
stock name."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from reducers import Reducer, ReducerError
from reducers.shadowing import load_file

from .exits import Stop, traceback_wanted, wrong_usage

DEFAULT_REDUCER = "agent"

STOCK = (
    "agent",
    "session",
    "conversation",
    "tool_calls",
    "memory",
    "usage",
    "tasks",
    "approvals",
    "errors",
)
"""The reducers of `reducers.agent`, by the names they are exported under."""


def find_reducer(typed: str, option: str = "--reducer") -> Reducer[Any]:
    """The reducer that `typed` names; code of the user's own is imported, and so run, a file once
    in a process. `option` is what named it.

    Raises `Stop`: exit code 2 when there is none of this name, 1 when the code does not import.
    """
    return named_reducer(typed, option)[1]


def named_reducer(typed: str, option: str) -> tuple[str, Reducer[Any]]:
    """As `find_reducer`, with the name under which another process finds it, which is always
    ``place:name``."""
    place, separator, name = typed.rpartition(":")
    if not separator:
        if not typed.endswith(".py"):
            return f"reducers.agent:{typed}", _stock(typed)
        place, name = typed, ""
    name, found = _pick(load_module(place, option), place, name)
    return f"{place}:{name}", found


def load_module(place: str, option: str) -> ModuleType:
    """The user's module at a path that ends in .py, or of a dotted name; it is imported, and so
    run. `option` is what named it.

    Raises `Stop`: exit code 2 when there is none, 1 when it does not import.
    """
    return _file(Path(place), option) if place.endswith(".py") else _module(place)


def _stock(name: str) -> Reducer[Any]:
    if name not in STOCK:
        raise wrong_usage(
            f"no reducer {name!r}",
            f"use one of {', '.join(STOCK)}, or file.py:name, or package.module:name",
        )
    from reducers import agent

    reducer: Reducer[Any] = getattr(agent, name)
    return reducer


def _file(path: Path, option: str) -> ModuleType:
    if not path.is_file():
        raise wrong_usage(f"no file {str(path)!r}", f"give {option} path/to/file.py:name")
    try:
        # Under a name of its own: a user's reducers.py must not take an installed module's place.
        module: ModuleType = load_file(path)
    except ReducerError:
        raise  # a handler that is refused, with its line and the reason
    except Exception as error:
        raise _import_failed(str(path), error) from error
    return module


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself is missing, not one that it imports.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise wrong_usage(
                f"no module {name!r}", "give package.module:name, seen from this folder"
            ) from None
        raise _import_failed(name, error) from error
    except ReducerError:
        raise
    except Exception as error:
        raise _import_failed(name, error) from error


def _pick(module: ModuleType, place: str, name: str) -> tuple[str, Reducer[Any]]:
    found = {key: value for key, value in vars(module).items() if isinstance(value, Reducer)}
    if name in found:
        return name, found[name]
    if not name and len(found) == 1:
        return next(iter(found.items()))
    known = f"use one of {', '.join(found)}" if found else "it holds no Reducer"
    raise wrong_usage(
        f"no reducer {name!r} in {place!r}" if name else f"{place!r}: which one", known
    )


def _import_failed(place: str, error: Exception) -> Stop:
    if traceback_wanted():
        raise error
    frames = traceback.extract_tb(error.__traceback__)
    line = f", line {frames[-1].lineno} of {frames[-1].filename}" if frames else ""
    # Messages of import and syntax errors name modules and code; others may hold anything.
    detail = f": {error}" if isinstance(error, ImportError | SyntaxError) else ""
    return Stop(
        f"{place!r} does not import: {type(error).__name__}{detail}{line}",
        next_step="mend the file; EVENTSTORE_TRACEBACK=1 shows the traceback",
    )
