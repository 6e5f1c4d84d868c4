"""Every page does what it says: its code runs, its commands print what is shown."""

from __future__ import annotations

import ast
import codeop
import os
import sys
import threading
from pathlib import Path

import pytest

from eventstore.testing import isolated_registry

from .pages import LANGUAGES, ROOT, all_pages, blocks_of, matches, name_of
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
    # As a reader who has the environment's programs on the path.
    scripts = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}")
    with isolated_registry():
        Page(page, tmp_path).run()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_block_has_a_language_then_it_is_one_that_is_checked(page: Path) -> None:
    """No block of a page goes unchecked."""
    for block in blocks_of(page):
        assert block.language in LANGUAGES, f"{name_of(page)}:{block.line}"


@pytest.mark.parametrize("page", [PAGES[0], ROOT / "docs" / "tutorial.md"], ids=name_of)
def test_blocks_are_pasted_into_a_session_then_each_line_is_taken(page: Path) -> None:
    """The two pages that are to be pasted can be: there a blank line ends what is indented."""
    for block in blocks_of(page):
        if block.language != "python" or block.title is not None:
            continue
        compiled = codeop.CommandCompiler()
        compiled.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        waiting: list[str] = []
        for line in [*block.body.splitlines(), ""]:
            waiting.append(line)
            if compiled("\n".join(waiting)) is not None:
                waiting = []
        assert not waiting, f"{name_of(page)}:{block.line}"


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a ...", "a b\nc", True),
        ("version 1...", "version 10", True),
        ("a", "a\nb", False),
        ("", "a", False),
        ("a...c", "a b", False),
        ("at 2026-11-21 11:33:27Z", "at 2027-01-02 03:04:05Z", True),
        ("at 2026-11-21 11:33:27Z", "at noon", False),
        ("01a1fdda-f851-77c7-8a2b-0a1b2c3d4e5f", "01a1fdda-f898-7766-acff-000000000000", True),
    ],
)
def test_output_is_compared_then_only_dots_stand_for_anything(
    expected: str, printed: str, same: bool
) -> None:
    """A page that shows less or other than what is printed is wrong."""
    assert matches(expected, printed) is same


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```python\nprint(1)\n```\n", "it prints"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "it prints"),
        ("```python\nassert 1 == 2, 'no'\n```\n", "no"),
        ("```console\n$ eventstore streams\n...\n```\n", "exit code 1"),
        ("```console\n$ echo a\nb\n```\n", "it prints"),
        ("```console\n$ unheard-of\n```\n", "in no list"),
        ("```json\n{]\n```\n", "property name"),
        ("```jsonl\n{}\n}\n```\n", "Expecting value"),
    ],
    ids=["silent", "other", "fails", "exit-code", "command", "unknown", "json", "jsonl"],
)
def test_page_is_wrong_then_it_is_told(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of pages can fail, in each way that it promises to."""
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((AssertionError, ValueError), match=told):
        Page(page, tmp_path).run()


def test_page_leaves_a_store_open_then_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store's thread is seen by its name."""
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    end = threading.Event()
    monkeypatch.setattr(threading, "end_of_test", end, raising=False)
    page.write_text(
        "```python\n"
        "import threading\n"
        "threading.Thread(target=threading.end_of_test.wait, name='eventstore left.db').start()\n"
        "```\n"
    )
    try:
        with pytest.raises(AssertionError, match=r"left\.db"):
            Page(page, tmp_path).run()
    finally:
        end.set()
