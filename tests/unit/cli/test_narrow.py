"""Names of streams, versions and positions: whole on any terminal, and in a pipe."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from cli.rendering.events import Listing
from cli.rendering.screen import Screen
from eventstore import EventStore, NewEvent, RecordedEvent
from reducers.agent import vocabulary

from .test_rendering import Terminal

SESSION = "session/258c7280-ae70-4798-800f-63464d01a85d"
NAMES = (SESSION, f"{SESSION}/agent/acompact-fffbd0", "board/7", "x" * 200)
WIDTHS = (40, 80, 120, 200)

Plain = Callable[[int], tuple[Screen, Callable[[], list[str]]]]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Plain:
    """A terminal of so many columns without colour, and what it shows, line by line."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")

    def make(width: int) -> tuple[Screen, Callable[[], list[str]]]:
        monkeypatch.setenv("COLUMNS", str(width))
        out = Terminal()
        shown = lambda: re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()  # noqa: E731
        return Screen(out), shown

    return make


async def recorded(streams: tuple[str, ...]) -> list[RecordedEvent]:
    """One long event in each stream, as the log gives them back."""
    message = vocabulary.message_added(role="user", content="some words and then more " * 20)
    async with EventStore.open("memory://") as store:
        for stream in streams:
            await store.append(stream, message, actor="a-long-name-of-an-actor")
        return await store.read_all().list()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("names_streams", [True, False])
async def test_log_then_names_positions_and_versions_are_whole(
    plain: Plain, width: int, names_streams: bool
) -> None:
    """Of an event's line the data is cut first; what one copies never is."""
    screen, shown = plain(width)
    listing = Listing(screen, names_streams=names_streams)
    events = await recorded(NAMES)
    for event in events:
        listing.show(event)
    lines = shown()
    for event in events:
        (line,) = [line for line in lines if line.startswith(f"{event.position:>6}  ")]
        assert f"v{event.version} " in line
        if names_streams or width < 140:
            assert any(event.stream in line.split() for line in lines)
    rows = [line for line in lines if "message.added" in line]
    assert len(rows) == len(events) or width == 40
    assert all(
        len(line) <= width for line in lines if "x" * 200 not in line and SESSION not in line
    )


async def test_narrow_log_of_one_stream_then_its_name_once_and_again_on_another_day(
    plain: Plain,
) -> None:
    """A heading stands above the lines that it belongs to, and only where it changes."""
    screen, shown = plain(80)
    listing = Listing(screen, names_streams=True)
    for event in await recorded((SESSION, SESSION, "board/7", SESSION)):
        listing.show(event)
    headings = [line.split()[0] for line in shown() if not line.startswith(" ")]
    assert headings == [SESSION, "board/7", SESSION]


@pytest.mark.parametrize("width", WIDTHS)
def test_streams_table_then_times_give_way_and_names_do_not(plain: Plain, width: int) -> None:
    """Columns are left out where there is no room, the first time before the last."""
    screen, shown = plain(width)
    columns = ("stream", "events", "first", "last")
    rows = [(name, "2,535", "2026-11-21 13:28:11Z", "2026-11-22 13:28:11Z") for name in NAMES[:3]]
    screen.table(columns, rows, right="events", give_way="first last")
    lines = shown()
    assert [line.split()[:2] for line in lines[1:]] == [[name, "2,535"] for name in NAMES[:3]]
    expected = {40: columns[:2], 80: columns[:2], 120: columns, 200: columns}[width]
    assert tuple(lines[0].split()) == expected
    assert all(len(line) <= width for line in lines) or width == 40


def test_one_column_is_enough_to_leave_out_then_the_other_stays(plain: Plain) -> None:
    """No more is left out than must be."""
    screen, shown = plain(80)
    rows = [(SESSION, "1", "2026-11-21 13:28:11Z", "2026-11-22 13:28:11Z")]
    screen.table(("stream", "events", "first", "last"), rows, right="events", give_way="first last")
    assert shown()[0].split() == ["stream", "events", "last"]
    assert shown()[1].endswith("2026-11-22 13:28:11Z")


def test_longer_name_than_the_terminal_then_only_its_own_row_is_pushed(plain: Plain) -> None:
    """One name of 200 characters does not spread the other rows."""
    screen, shown = plain(80)
    screen.table(("stream", "events"), [("a", "1"), ("x" * 200, "2")], right="events")
    assert shown()[2] == "x" * 200 + "       2"
    assert len(shown()[1]) <= 80


@pytest.mark.parametrize("width", WIDTHS)
def test_import_table_then_the_name_stands_below_where_there_is_no_room(
    plain: Plain, width: int
) -> None:
    """Nothing of the table is left out; on a narrow terminal a session takes two lines."""
    screen, shown = plain(width)
    rows = [("A title of forty-four characters, as is cut", "6", "39,079", SESSION)]
    screen.table(("title", "turns", "tokens", "stream"), rows, right="turns tokens", below="stream")
    lines = shown()
    if width < 120:
        assert lines[2] == f"  {SESSION}"
        assert lines[1].split()[-2:] == ["6", "39,079"]
        assert "stream" not in lines[0]
    else:
        assert lines[1].endswith(f"6  39,079  {SESSION}")
        assert len(lines) == 2


def test_wide_characters_then_columns_stay_in_line(plain: Plain) -> None:
    """Some scripts take two columns for a character."""
    screen, shown = plain(80)
    screen.table(("title", "n"), [("\u65c5\u884c", "1"), ("abcd", "2")], right="n")
    assert shown()[1:] == ["\u65c5\u884c   1", "abcd   2"]


def test_pipe_then_everything(plain: Plain) -> None:
    """A pipe has no width: nothing gives way there."""
    out = io.StringIO()
    rows = [(name, "1", "early", "late") for name in NAMES]
    Screen(out).table(("stream", "events", "first", "last"), rows, give_way="first last")
    assert [line.split() for line in out.getvalue().splitlines()[1:]] == [list(row) for row in rows]


async def test_piped_log_then_each_line_names_its_stream() -> None:
    """In a pipe there are no headings: every line is found by its stream."""
    out = io.StringIO()
    listing = Listing(Screen(out), names_streams=True)
    for event in await recorded(NAMES):
        listing.show(event)
    assert [line.split()[4] for line in out.getvalue().splitlines()] == list(NAMES)


async def test_own_event_then_no_words_of_tools() -> None:
    """Events of other types are listed as ever."""
    out = io.StringIO()
    async with EventStore.open("memory://") as store:
        (event,) = (await store.append("s", NewEvent("a.b", {"k": 1}))).events
    Listing(Screen(out), names_streams=False).show(event)
    assert out.getvalue().split()[-1] == "k=1"
