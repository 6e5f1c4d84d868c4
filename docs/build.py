"""``make docs``: writes the parts of the reference that docstrings and --help already say.

`PAGES` has each generated page with the function that makes it. The same functions are called by
the tests, which fail when a page is stale or something public has no docstring.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from eventstore import EventStoreError
from projections import RelationalView

from .signatures import returns, signature

HERE = Path(__file__).parent

ROOMS = {
    "eventstore": "The log.",
    "eventstore.blocking": "The log for synchronous code.",
    "eventstore.testing": "For the tests of those who use the log, and of those who write engines.",
    "reducers": "State, computed from events.",
    "reducers.agent": "Agents' sessions: the stock reducers. Their events are in"
    " [agent events](agent-events.md).",
    "projections": "Views that follow the log.",
    "projections.stock": "The views that are there: see [stock views](stock-views.md).",
    "projections.embedding": "What turns texts into vectors.",
}
"""Modules whose `__all__` is public (where there is none: what they define), in this order."""

REACHED = {
    "eventstore": (
        "eventstore.reading:Events",
        "eventstore.checkpoints:Checkpoints",
        "eventstore.checkpoints:Behind",
        "eventstore.snapshots:Snapshots",
        "eventstore.snapshots:Snapshot",
        "eventstore.snapshots:SnapshotInfo",
        "eventstore.verify:Damage",
    ),
    "reducers": (
        "reducers.bisecting:Found",
        "reducers.blaming:Blamed",
        "reducers.comparing:Compared",
        "reducers.counterfactual:Affected",
        "reducers.counterfactual:Counterfactual",
        "reducers.divergence:Divergence",
        "reducers.lineage:Derived",
        "reducers.lineage:Lineage",
        "reducers.lineage:Tainted",
        "reducers.lineage:TaintedKey",
        "reducers.lineage:TaintedStream",
        "reducers.merging:Merged",
    ),
    "projections": (
        "projections.recall:Found",
        "projections.recall:Recalled",
        "projections.relay.rebuilding:Progress",
        "projections.relay.rebuilding:RebuildReport",
        "projections.relay.comparing:Comparison",
        "projections.relay.comparing:Difference",
        "projections.status:ViewStatus",
    ),
}
"""What is never imported by its name, but is what public calls give back."""

Entry = tuple[str, Any]


class Undocumented(Exception):
    """Something public has no docstring."""


def entries(room: str) -> list[Entry]:
    """A room's public names, then what its calls give back, in the order of the page."""
    module = importlib.import_module(room)
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == room
    ]
    found = [(name, getattr(module, name)) for name in sorted(names, key=str.lower)]
    for place in REACHED.get(room, ()):
        home, name = place.split(":")
        found.append((name, getattr(importlib.import_module(home), name)))
    return found


def api_page() -> str:
    """The reference of all public names. Raises `Undocumented`."""
    parts = [
        "# API reference",
        "Made from the docstrings by `make docs`; change it there. Every coroutine says what is"
        " true when it is cancelled, every error whether anything was written.",
        "- " + "\n- ".join(f"[`{room}`](#{_anchor(room)}): {text}" for room, text in ROOMS.items()),
    ]
    for room, text in ROOMS.items():
        module = importlib.import_module(room)
        parts += [f"## `{room}`", text, _markdown(_doc(module, room))]
        for name, value in entries(room):
            parts += _entry(room, name, value)
    parts += ["## Limits", *_limits()]
    return "\n\n".join(part for part in parts if part) + "\n"


def errors_page() -> str:
    """The errors: the tree, then each class with what it carries."""
    from eventstore import errors
    from projections import errors as projection_errors

    parts = [
        "# Errors",
        "Made from the docstrings by `make docs`.",
        _markdown(errors.__doc__ or ""),
        _markdown(projection_errors.__doc__ or ""),
    ]
    from eventstore.errors import RowRefused

    raised_within: list[tuple[str, Any]] = [("RowRefused", RowRefused)]
    named = ("EmbeddingFailed", "ExtraMissing", "IndexRefused")
    raised_within += [(name, getattr(projection_errors, name)) for name in named]
    rooms = [each for room in ("eventstore", "reducers", "projections") for each in entries(room)]
    for name, value in [*rooms, *raised_within]:
        if isinstance(value, type) and issubclass(value, EventStoreError):
            parts += [f"## `{name}`", _markdown(_doc(value, name)), _told(value)]
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """What ``eventstore COMMAND --help`` says, for every command."""
    from cli.app import COMMANDS, GROUPS

    parts = [
        "# Commands",
        "Made from `--help` by `make docs`. Each command has a page of its own that shows it at"
        " work: [how-to](../how-to/README.md).",
        "Exit codes: 0 done; 1 the store said no; 2 wrong usage; 3 done, with rejected records;"
        " 4 corruption; 130 interrupted; 141 the reader of the output is gone. Errors are one line"
        " on stderr, with what to do next.",
        "`$EVENTSTORE_URL` names the store where `--store` does not, `$EVENTSTORE_REDIS_URL` the"
        " Redis of the stock view `session_state` where `--redis` does not. `$EVENTSTORE_TRACEBACK`"
        " set to anything shows tracebacks, which may hold payloads. `$NO_COLOR` and"
        " `$FORCE_COLOR` are honoured.",
    ]
    for name in COMMANDS:
        group = name.split()[0]
        if group in GROUPS and f"## `eventstore {group} ...`" not in parts:
            parts += [f"## `eventstore {group} ...`", GROUPS[group]]
        parts += [f"## `eventstore {name}`", f"```text\n{_help(name)}\n```"]
    return "\n\n".join(parts) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/api.md": api_page,
    "reference/errors.md": errors_page,
    "reference/commands.md": commands_page,
}


def _help(command: str) -> str:
    from cli import main

    printed = io.StringIO()
    # As wide as in a pipe, whoever asks and on whatever terminal.
    with redirect_stdout(printed), patch.dict("os.environ", {"COLUMNS": "80"}):
        main([*command.split(), "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def _entry(room: str, name: str, value: Any) -> Iterator[str]:
    yield f"### `{name}`"
    if inspect.ismodule(value):
        yield f"The module `{value.__name__}`: see [agent events](agent-events.md)."
        return
    if not isinstance(value, type) and not inspect.isroutine(value):
        # A reducer or a view: what it makes of events stands in its module.
        home = sys.modules.get(f"{room}.{name}") or sys.modules[f"{room}.combined"]
        yield _markdown(_doc(home, name))
        if isinstance(value, RelationalView):
            yield _columns(value)
        return
    yield f"```text\n{signature(name, value, is_given=_is_given(room, name))}\n```"
    if isinstance(value, type) and issubclass(value, EventStoreError):
        yield f"{_markdown(_doc(value, name)).splitlines()[0]} See [errors](errors.md)."
        return
    yield _markdown(_doc(value, f"{room}.{name}"))
    if isinstance(value, type):
        yield from _members(name, value)


def _columns(view: RelationalView) -> str:
    """The columns of a view's table, in their order; what each holds is the page's to say."""
    columns = [
        f"`{column.name}` {column.type}{'?' if column.nullable else ''}"
        for column in view.table.columns
    ]
    key = ", ".join(f"`{column.name}`" for column in view.table.primary_key.columns)
    return (
        f"Columns (`?` may be NULL): {', '.join(columns)}. Key: {key}. What they hold is in"
        f" [stock views](stock-views.md#{view.name})."
    )


def _is_given(room: str, name: str) -> bool:
    return any(place.endswith(f":{name}") for place in REACHED.get(room, ()))


def _members(owner: str, cls: type) -> Iterator[str]:
    if issubclass(cls, enum.Enum):
        yield ", ".join(f"`{owner}.{member.name}` ({member.value})" for member in cls)
        return
    for name, member in _own_and_hidden(cls).items():
        if name.startswith("_") or name in getattr(cls, "__struct_fields__", ()):
            continue
        function = getattr(member, "__func__", member)
        full = f"{owner}.{name}"
        if isinstance(member, property):
            if getattr(cls, "_is_protocol", False):
                continue
            yield f"#### `{full}`"
            yield f"```text\n{full}{returns(member.fget)}\n```"
            yield _markdown(_doc(member, full))
        elif inspect.isfunction(function) and not _is_test(function):
            yield f"#### `{full}`"
            yield f"```text\n{signature(full, function, is_method=member is function)}\n```"
            yield _markdown(_doc(function, full))


def _own_and_hidden(cls: type) -> dict[str, Any]:
    """A class's members, with those of bases that are not public and have no entry."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        public = any(getattr(sys.modules.get(room), base.__name__, None) is base for room in ROOMS)
        ours = base.__module__.split(".")[0] in ("eventstore", "reducers", "projections")
        if base is cls or (ours and not public):
            found |= vars(base)
    return found


def _is_test(function: Any) -> bool:
    # The contract's own test methods and fixtures are its content, not its interface.
    return bool(function.__name__.startswith("test_") or hasattr(function, "pytestmark"))


def _doc(value: Any, name: str) -> str:
    text = inspect.getdoc(value)
    if not text or text.startswith(("int(", "Enum where", "Base class")):
        raise Undocumented(name)
    return text


def _markdown(text: str) -> str:
    """A docstring as Markdown: what is indented behind :: becomes a block."""
    lines: list[str] = []
    block: list[str] = []
    for line in [*inspect.cleandoc(text).splitlines(), ""]:
        if line.startswith("    ") or (block and not line.strip()):
            block.append(line[4:])
            continue
        if block:
            body = "\n".join(block).strip("\n")
            lines += ["```text", body, "```", ""]
            block = []
        stripped = line.removesuffix("::")
        lines.append(line if stripped == line else f"{stripped}:" if stripped else "")
    if block:
        lines += ["```text", "\n".join(block).strip("\n"), "```"]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _told(error: type[EventStoreError]) -> str:
    return f"Fault: {error.fault}. Written: {error.written}. Next: {error.next_step}."


def _limits() -> Iterator[str]:
    """The bounds with their reasons, out of the module that holds them."""
    from eventstore import limits

    yield "Every bound of the log, with its reason (`eventstore.limits`)."
    source = inspect.getsource(limits)
    pattern = r'^([A-Z_]+): Final = .+\n(?:([A-Z_]+): Final = .+\n)?"""((?:.|\n)*?)"""'
    rows = ["| bound | value | why |", "|---|--:|---|"]
    for name, second, reason in re.findall(pattern, source, re.MULTILINE):
        rows += [
            f"| `{each}` | {getattr(limits, each):,} | {' '.join(reason.split())} |"
            for each in (name, second)
            if each
        ]
    yield "\n".join(rows)


def _anchor(room: str) -> str:
    return room.replace(".", "")


def main() -> None:
    """Writes the pages that changed, and says which."""
    for name, make in PAGES.items():
        path, text = HERE / name, make()
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"docs/{name}: written")


if __name__ == "__main__":
    main()
