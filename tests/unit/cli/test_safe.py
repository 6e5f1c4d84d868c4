"""Text of events on a terminal."""

from __future__ import annotations

import pytest

from cli.rendering.safe import one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b2J", "\\x9b2J"),
        ("a\rb", "a\\x0db"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_then_written_out(text: str, shown: str) -> None:
    """No stored text can steer the terminal or turn the writing direction."""
    assert visible(text) == shown


def test_newline_and_tab_then_kept() -> None:
    """What shapes a text without steering anything stays."""
    assert visible("a\n\tb") == "a\n\tb"


def test_several_lines_then_one() -> None:
    """A line of a listing stays one line."""
    assert one_line("  a\n\n b\tc ", 20) == "a b c"


def test_too_long_then_cut_with_a_mark() -> None:
    """What does not fit is cut to exactly the width, and one sees that it was."""
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("abcd", 4) == "abcd"


def test_control_characters_in_a_line_then_written_out() -> None:
    """Lines are as safe as texts."""
    assert one_line("\x1b]0;title\x07", 40) == "\\x1b]0;title\\x07"
