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

import msgspec

HERE = Path(__file__).parent

ROOMS = {
    "eventstore": "The log.",
    "eventstore.blocking": "The log for synchronous code.",
    "eventstore.testing": "For the tests of those who use the log, and of those who write engines.",
    "reducers": "State, computed from events.",
    "reducers.agent": "Agents' sessions: the stock reducers. Their events are in"
    " [agent events](agent-events.md).",
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

    parts = [
        "# Errors",
        "Made from the docstrings by `make docs`.",
        _markdown(errors.__doc__ or ""),
    ]
    for name, value in [*entries("eventstore"), *entries("reducers")]:
        if isinstance(value, type) and issubclass(value, Exception):
            parts += [f"## `{name}`", _markdown(_doc(value, name)), _told(value)]
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """What ``eventstore COMMAND --help`` says, for every command."""
    from cli.app import COMMANDS

    parts = [
        "# Commands",
        "Made from `--help` by `make docs`. Each command has a page of its own that shows it at"
        " work: [how-to](../how-to/README.md).",
        "Exit codes: 0 done; 1 the store said no; 2 wrong usage; 3 done, with rejected records;"
        " 4 corruption; 130 interrupted; 141 the reader of the output is gone. Errors are one line"
        " on stderr, with what to do next.",
        "`$EVENTSTORE_URL` names the store where `--store` does not. `$EVENTSTORE_TRACEBACK` set to"
        " anything shows tracebacks, which may hold payloads. `$NO_COLOR` and `$FORCE_COLOR` are"
        " honoured.",
    ]
    for name in COMMANDS:
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
    with redirect_stdout(printed):
        main([command, "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def _entry(room: str, name: str, value: Any) -> Iterator[str]:
    yield f"### `{name}`"
    if inspect.ismodule(value):
        yield f"The module `{value.__name__}`: see [agent events](agent-events.md)."
        return
    if not isinstance(value, type) and not inspect.isroutine(value):
        # A reducer: what it makes of events stands in its module.
        home = sys.modules.get(f"{room}.{name}") or sys.modules[f"{room}.combined"]
        yield _markdown(_doc(home, name))
        return
    yield f"```text\n{_signature(name, value)}\n```"
    if isinstance(value, type) and issubclass(value, Exception):
        yield f"{_markdown(_doc(value, name)).splitlines()[0]} See [errors](errors.md)."
        return
    yield _markdown(_doc(value, f"{room}.{name}"))
    if isinstance(value, type):
        yield from _members(name, value)


def _members(owner: str, cls: type) -> Iterator[str]:
    if issubclass(cls, enum.Enum):
        yield ", ".join(f"`{owner}.{member.name}` ({member.value})" for member in cls)
        return
    for name, member in vars(cls).items():
        if name.startswith("_") or name in getattr(cls, "__struct_fields__", ()):
            continue
        function = getattr(member, "__func__", member)
        full = f"{owner}.{name}"
        if isinstance(member, property):
            if getattr(cls, "_is_protocol", False):
                continue
            yield f"#### `{full}`"
            yield f"```text\n{full}{_returns(member.fget)}\n```"
            yield _markdown(_doc(member, full))
        elif inspect.isfunction(function) and not _is_test(function):
            yield f"#### `{full}`"
            yield f"```text\n{_signature(full, function, is_method=member is function)}\n```"
            yield _markdown(_doc(function, full))


def _is_test(function: Any) -> bool:
    # The contract's own test methods and fixtures are its content, not its interface.
    return bool(function.__name__.startswith("test_") or hasattr(function, "pytestmark"))


def _signature(name: str, value: Any, is_method: bool = False) -> str:
    """As a reader would write the call; one parameter a line when it is long."""
    if isinstance(value, type) and issubclass(value, msgspec.Struct):
        parameters = _fields(value)
    elif isinstance(value, type):
        parameters = _constructor(value)
    else:
        listed = list(inspect.signature(value).parameters.values())
        parameters = _parameters(listed[1:] if is_method else listed)
    if isinstance(value, type) and not parameters:
        return name
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    after = "" if isinstance(value, type) else _returns(value)
    short = f"{prefix}{name}({', '.join(parameters)}){after}"
    if len(short) <= 96:
        return short
    return f"{prefix}{name}(\n    " + ",\n    ".join(parameters) + f",\n){after}"


def _returns(function: Any) -> str:
    note = getattr(function, "__annotations__", {}).get("return")
    return "" if note is None else f" -> {_annotation(note)}"


def _constructor(cls: type) -> list[str]:
    """What a class is made from; nothing where only the library makes it."""
    made_by_us = any(
        place.endswith(f":{cls.__name__}") for rest in REACHED.values() for place in rest
    )
    protocol = getattr(cls, "_is_protocol", False)
    if made_by_us or protocol or issubclass(cls, enum.Enum) or not inspect.isfunction(cls.__init__):
        return []
    parameters = _parameters(list(inspect.signature(cls.__init__).parameters.values())[1:])
    return [] if any(": _" in parameter for parameter in parameters) else parameters


def _fields(cls: type[msgspec.Struct]) -> list[str]:
    annotations = {
        name: note
        for base in reversed(cls.__mro__)
        for name, note in getattr(base, "__annotations__", {}).items()
    }
    names = cls.__struct_fields__
    defaults = dict(
        zip(
            names[len(names) - len(cls.__struct_defaults__) :], cls.__struct_defaults__, strict=True
        )
    )
    shown = []
    for name in names:
        if name.startswith("_"):
            continue
        default = defaults.get(name, msgspec.NODEFAULT)
        text = f"{name}: {_annotation(annotations[name])}"
        shown.append(text if default is msgspec.NODEFAULT else f"{text} = {_default(default)}")
    return shown


_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def _parameters(listed: list[inspect.Parameter]) -> list[str]:
    shown: list[str] = []
    for parameter in listed:
        starred = any(text.startswith("*") for text in shown)
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
        stars = _STARS.get(parameter.kind, "")
        text = f"{stars}{parameter.name}"
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        shown.append(text)
    return shown


def _annotation(note: Any) -> str:
    text = note if isinstance(note, str) else inspect.formatannotation(note)
    return re.sub(r"\b(?:typing|collections\.abc|datetime)\.", "", text).replace("'", "")


def _default(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return str(type(value).__name__) + "." + value.name
    if inspect.isroutine(value) or isinstance(value, type):
        return str(value.__name__)
    if type(value).__module__ == "msgspec._core":
        return "..." if value is not msgspec.UNSET else "UNSET"
    return repr(value)


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


def _told(error: type) -> str:
    return f"Fault: {error.fault}. Written: {error.written}. Next: {error.next_step}."  # type: ignore[attr-defined]


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
