"""The reference is complete and fresh: nothing public is undocumented."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import pytest

from cli.app import COMMANDS
from docs import build
from eventstore import EventStore, EventStoreError

from .pages import ROOT

DOCS = ROOT / "docs"
ROOMS = ("eventstore", "reducers", "projections")
"""Those whose errors users catch."""


def _page(name: str) -> str:
    return (DOCS / name).read_text()


@pytest.mark.parametrize("name", build.PAGES)
def test_page_is_made_again_then_it_is_the_stored_one(name: str) -> None:
    """The reference says what the code says now; `make docs` mends it."""
    assert _page(name) == build.PAGES[name](), f"docs/{name} is stale: run `make docs`"


@pytest.mark.parametrize("room", build.ROOMS)
def test_name_is_public_then_the_reference_has_it(room: str) -> None:
    """Every name of every facade stands under its room."""
    text = _page("reference/api.md").split(f"\n## `{room}`\n")[1].split("\n## ")[0]
    names = getattr(importlib.import_module(room), "__all__", ())
    missing = [name for name in names if f"\n### `{name}`\n" not in text]
    assert not missing


def test_public_name_has_no_docstring_then_the_page_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An undocumented name is an error, and not an empty paragraph."""
    monkeypatch.setattr(EventStore.head, "__doc__", None)
    with pytest.raises(build.Undocumented, match=r"EventStore\.head"):
        build.api_page()


def _errors() -> list[type[EventStoreError]]:
    found: list[type[EventStoreError]] = [EventStoreError]
    for cls in found:
        found += [sub for sub in cls.__subclasses__() if "." not in sub.__qualname__]
    return [cls for cls in found if cls.__module__.split(".")[0] in ROOMS]


def test_error_class_exists_then_it_is_documented_with_its_consequences() -> None:
    """Whose fault it is, whether it was written, and what to do next."""
    text = _page("reference/errors.md")
    for cls in _errors():
        section = text.split(f"\n## `{cls.__name__}`\n")[1].split("\n## ")[0]
        assert cls.next_step in section
        assert f"Written: {cls.written}." in section


def test_store_option_exists_then_it_is_documented_with_its_default() -> None:
    """Every keyword of `EventStore.open` has a row, and no other has."""
    rows = re.findall(r"^\| `(\w+)=(.*?)` \|", _page("reference/store-options.md"), re.MULTILINE)
    parameters = list(inspect.signature(EventStore.open).parameters.values())[1:]
    assert dict(rows) == {each.name: _default(each.default) for each in parameters}


def _default(value: Any) -> str:
    return value.__name__ if inspect.isroutine(value) else repr(value)


def test_command_exists_then_it_has_a_page_and_its_help_is_in_the_reference() -> None:
    """Every command is shown at work, and every option of it is written down."""
    text = _page("reference/commands.md")
    for name in COMMANDS:
        assert f"\n## `eventstore {name}`\n" in text
        assert f"eventstore {name}" in _page(f"how-to/cli-{name.split()[0]}.md"), name


def test_environment_variable_is_read_then_it_is_documented() -> None:
    """Settings that no --help shows stand in the reference of commands."""
    read = set()
    for room in ("eventstore", "reducers", "projections", "cli"):
        for file in (ROOT / room).rglob("*.py"):
            read |= set(re.findall(r"\"(EVENTSTORE_[A-Z_]+)\"", file.read_text()))
    assert read, "the search finds nothing"
    text = _page("reference/commands.md")
    assert not [name for name in read if f"${name}" not in text]
