"""RFC 6901 pointers into a state's JSON form, as `--path` takes them."""

from __future__ import annotations

import re
from typing import Any

from .exits import Stop, wrong_usage

_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")
"""An index as RFC 6901 writes it, without leading zeros."""

_ESCAPE = re.compile(r"~(?![01])")

NAMES_SHOWN = 8
"""Members named when a pointer leads nowhere: enough to see a typing error."""


def resolve(state: Any, pointer: str) -> Any:
    """What stands at `pointer` in a JSON value; the empty pointer is the whole.

    Raises `Stop`: exit code 2 for what is no pointer, 1 when nothing stands there, with the
    names that do.
    """
    check_pointer(pointer)
    value, done = state, ""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise Stop(f"nothing at {pointer!r}", next_step=_there(value, done))
        done += f"/{token}"
    return value


def check_pointer(pointer: str) -> None:
    """Refuses what is no pointer, before anything is read. Raises `Stop` (exit code 2)."""
    if pointer and not pointer.startswith("/"):
        raise wrong_usage(f"{pointer!r} is no path", "begin it with /, for example /tasks/tasks")
    if _ESCAPE.search(pointer):
        raise wrong_usage(f"{pointer!r} is no path", "write ~ as ~0, and / in a name as ~1")


def _there(value: Any, place: str) -> str:
    where = place or "the top"
    if isinstance(value, dict):
        names = ", ".join(list(value)[:NAMES_SHOWN]) or "nothing"
        return f"{where} holds {names}" + (", ..." if len(value) > NAMES_SHOWN else "")
    if isinstance(value, list):
        return f"{where} is a list of {len(value)}"
    return f"{where} is no object"
