"""Text from events made safe to show: nothing in it can steer the terminal it is printed on.

What an agent or a tool wrote may hold escape sequences or characters that turn the writing
direction; shown as they are, they could hide or forge output.
"""

from __future__ import annotations

import re

# C0 and C1 controls, the Unicode line ends, and the characters that override or isolate the
# writing direction (UAX 9). Tab and newline are left to the callers.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SPACE = re.compile(r"[\t\n ]+")


def visible(text: str) -> str:
    """`text` with unsafe characters written out (``\\x1b``); tabs and newlines stay."""
    return _UNSAFE.sub(_written_out, text)


def one_line(text: str, width: int) -> str:
    """`text` safe and on one line, runs of space as one space, at most `width` characters."""
    # Only what can be shown is looked at: a payload may be megabytes long.
    text = _SPACE.sub(" ", visible(text[: width * 4])).strip()
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _written_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
