"""Every page does what it says: its code runs, its commands print what is shown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from eventstore.testing import isolated_registry

from .pages import LANGUAGES, all_pages, blocks_of, matches, name_of
from .running import Page

PAGES = all_pages()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_is_followed_then_everything_on_it_is_true(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever pastes a page's blocks from top to bottom sees what the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # Set first, so that what a page exports is undone with it.
    for name in ("EVENTSTORE_URL", "FORCE_COLOR", "EVENTSTORE_TRACEBACK", "CLAUDE_CONFIG_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with isolated_registry():
        Page(page, tmp_path).run()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_block_has_a_language_then_it_is_one_that_is_checked(page: Path) -> None:
    """No block of a page goes unchecked."""
    for block in blocks_of(page):
        assert block.language in LANGUAGES, f"{name_of(page)}:{block.line}"


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a ...", "a b\nc", True),
        ("version 1...", "version 10", True),
        ("a", "a\nb", False),
        ("", "a", False),
        ("a...c", "a b", False),
    ],
)
def test_output_is_compared_then_only_dots_stand_for_anything(
    expected: str, printed: str, same: bool
) -> None:
    """A page that shows less or other than what is printed is wrong."""
    assert matches(expected, printed) is same


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n",
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\nassert False\n```\n",
        "```console\n$ eventstore streams\n```\n",
        "```console\n$ unheard-of\n```\n",
        "```json\n{]\n```\n",
        "```python\nstore = await EventStore.open('sqlite:///left.db')\n```\n",
    ],
    ids=["silent", "other", "fails", "exit-code", "unknown", "json", "left-open"],
)
def test_page_is_wrong_then_it_is_told(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of pages can fail, in each way that it promises to."""
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text)
    monkeypatch.setattr("tests.docs.running.name_of", str)
    with pytest.raises((AssertionError, ValueError, NameError)):
        Page(page, tmp_path).run()
