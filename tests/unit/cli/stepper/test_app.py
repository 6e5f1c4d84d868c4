"""The stepper on a terminal without a terminal: real keys, and the screen as text.

`screens/` holds what is to be seen, line by line, at both sizes. To write them anew after a change
of the layout, delete the file and run the test: it fails once and leaves what it saw.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len
from rich.style import Style
from textual.pilot import Pilot
from textual.widgets import OptionList

from cli.stepper.app import BLAMED_SHOWN, HINT, Stepper
from cli.stepper.panels import Panel
from cli.stepper.screens import Blames, Help
from cli.stepper.session import SPACING, Session
from eventstore import Corrupt, EventStore, NewEvent
from reducers import Reducer, blame
from reducers.agent import agent

STREAM = "session/offsite"
SCREENS = Path(__file__).parent / "screens"
SMALL, LARGE = (80, 24), (200, 60)

CHARACTER_PIXELS = 12.2
"""Width of a column in the picture: that of its font, Fira Code, at 20 pixels."""


@asynccontextmanager
async def stepping(
    store: EventStore,
    size: tuple[int, int] = SMALL,
    version: int = 1,
    reducer: Reducer[Any] = agent,
) -> AsyncIterator[Pilot[None]]:
    """The stepper on a screen of this size."""
    app = Stepper(await Session.open(store, STREAM, reducer, version))
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        yield pilot


async def settled(pilot: Pilot[None]) -> None:
    """Everything that a key began is done and drawn."""
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Presses keys, or types a text, and waits for what each of them began."""
    for key in keys:
        await pilot.press(*(_KEYS.get(each, each) for each in ([key] if key in _NAMED else key)))
        await pilot.app.workers.wait_for_complete()
    await pilot.pause()


_NAMED = {"ctrl+u", "enter", "escape", "home", "end", "tab", "up", "down", "left", "right", "space"}
_KEYS = {" ": "space", ".": "full_stop", "/": "slash", "?": "question_mark"} | {
    **{">": "greater_than_sign", "=": "equals_sign", "_": "underscore", "@": "at"},
    **{"[": "left_square_bracket", "]": "right_square_bracket", "-": "minus", "'": "apostrophe"},
    **{":": "colon", "$": "dollar_sign"},
}


def seen(pilot: Pilot[None]) -> list[str]:
    """The lines of the screen, from the picture that Textual draws of it."""
    picture = ElementTree.fromstring(pilot.app.export_screenshot())
    lines = [""] * pilot.app.size.height
    for piece in picture.iterfind(".//{*}text[@clip-path]"):
        number = re.search(r"line-(\d+)", piece.attrib["clip-path"])
        assert number is not None
        line = lines[int(number[1])]
        column = round(float(piece.attrib["x"]) / CHARACTER_PIXELS)
        lines[int(number[1])] = line + " " * (column - cell_len(line)) + (piece.text or "")
    return [line.replace("\xa0", " ").rstrip() for line in lines]


def session_of(pilot: Pilot[None]) -> Session:
    """What is looked at."""
    assert isinstance(pilot.app, Stepper)
    return pilot.app.session


def is_as_expected(pilot: Pilot[None], name: str) -> None:
    """Holds the screen against its file."""
    size = pilot.app.size
    path = SCREENS / f"{name}-{size.width}x{size.height}.txt"
    lines = seen(pilot)
    assert len(lines) == size.height
    if not path.exists():
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        raise AssertionError(f"{path.name} is new: look at it, and run this again")
    assert lines == path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_steps_are_taken_then_the_screen_is_the_expected_one(
    store: EventStore, size: tuple[int, int]
) -> None:
    """Timeline, state with what the event changed, and event, line by line, at both sizes."""
    async with stepping(store, size) as pilot:
        is_as_expected(pilot, "opened")
        await press(pilot, "f", "f", "f", "f", "w")
        is_as_expected(pilot, "stepped")
        await press(pilot, "y")
        is_as_expected(pilot, "blamed")
        await press(pilot, "escape", "?")
        is_as_expected(pilot, "help")


async def test_text_would_steer_the_terminal_then_it_is_written_out(store: EventStore) -> None:
    """An escape sequence in a message stays text; wide characters keep the columns."""
    async with stepping(store, version=10) as pilot:
        is_as_expected(pilot, "escaped")
        assert "\x1b" not in "".join(seen(pilot))


async def test_keys_are_pressed_then_each_goes_where_it_says(store: EventStore) -> None:
    """Forward, back, far, first, last; at the ends nothing moves."""
    async with stepping(store) as pilot:
        versions = []
        for key in ("f", "space", "right", "b", "left", "end", "f", "[", "]", "home", "b"):
            await press(pilot, key)
            versions.append(session_of(pilot).version)
        assert versions == [2, 3, 4, 3, 2, 10, 10, 1, 10, 1, 1]


async def test_many_keys_come_at_once_then_none_is_lost(store: EventStore) -> None:
    """Who holds a key down sees every step done."""
    async with stepping(store) as pilot:
        await pilot.press(*("f" * 9))
        await settled(pilot)
        assert session_of(pilot).version == 10


@pytest.mark.parametrize(
    ("typed", "version"), [("7", 7), ("@4", 4), ("2026-01-01T00:00:05Z", 6), ("", 1)]
)
async def test_place_is_typed_then_it_is_jumped_to(
    store: EventStore, typed: str, version: int
) -> None:
    """A version, a position, a time; nothing stays where it is."""
    async with stepping(store) as pilot:
        await press(pilot, "g", typed, "enter")
        assert session_of(pilot).version == version


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("g", "99", "enter"), "versions go from 1 to 10"),
        (("g", "soon", "enter"), "is no point in a stream"),
        (("B", "open(1)", "enter"), "no function 'open'"),
        (("B", "usage.total_cost > 1", "enter"), "no 'usage.total_cost' in the state"),
        (("/", "zebra", "enter"), "'zebra' is in no event after this one"),
        (("c",), "nothing to stop at"),
        (("F", "enter"), "begins as this stream up to version 1"),
        (("F", "ctrl+u", "$bad", "enter"), "a leading '$' is the store's own"),
    ],
)
async def test_something_is_asked_then_the_status_line_answers(
    store: EventStore, keys: tuple[str, ...], said: str
) -> None:
    """In one line at the bottom; the program goes on."""
    async with stepping(store, LARGE) as pilot:
        await press(pilot, *keys)
        assert said in seen(pilot)[-1]
        assert session_of(pilot).version == 1


async def test_text_is_searched_then_n_goes_on_and_shift_n_back(store: EventStore) -> None:
    """As in a pager."""
    async with stepping(store) as pilot:
        versions = []
        for keys in (("/", "model.called", "enter"), ("n",), ("n",), ("N",)):
            await press(pilot, *keys)
            versions.append(session_of(pilot).version)
        assert versions == [4, 8, 8, 4]


async def test_breakpoint_is_set_then_a_run_stops_at_it_both_ways(store: EventStore) -> None:
    """It is shown while it stands, and given again it is gone."""
    async with stepping(store) as pilot:
        await press(pilot, "B", "when: usage.cost > 0.05", "enter", "c")
        assert session_of(pilot).version == 8
        assert seen(pilot)[-2].strip() == "when usage.cost > 0.05"
        assert seen(pilot)[-1].strip() == "when: usage.cost > 0.05"
        await press(pilot, "end", "C")
        assert session_of(pilot).version == 8
        await press(pilot, "B", "usage.cost > 0.05", "enter")
        assert session_of(pilot).breakpoints == []


async def test_breakpoint_names_what_never_comes_then_the_run_tells_it(store: EventStore) -> None:
    """A typing error in a task's name is not taken for "it never happened"."""
    async with stepping(store, LARGE) as pilot:
        await press(pilot, "B", "tasks.tasks.rom.status == 'completed'", "enter", "c")
        assert "no state had tasks.tasks.rom, tasks.tasks.rom.status" in seen(pilot)[-1]


async def test_path_is_watched_then_a_run_stops_at_its_changes(store: EventStore) -> None:
    """The path under the cursor; its value is shown below the state."""
    async with stepping(store, version=5) as pilot:
        await press(pilot, "w", "c")
        assert session_of(pilot).watches == ["/tasks/tasks/room/status"]
        assert session_of(pilot).version == 9
        assert seen(pilot)[-2].strip() == 'watch /tasks/tasks/room/status  "completed"'
        await press(pilot, "C", "w")
        assert (session_of(pilot).version, session_of(pilot).watches) == (5, [])


async def test_event_of_a_blame_is_chosen_then_it_is_gone_to(store: EventStore) -> None:
    """From what a value is to the event that made it so."""
    async with stepping(store, version=9) as pilot:
        await press(pilot, "y", "down", "enter")
        assert session_of(pilot).version == 5


async def test_path_was_never_changed_then_the_blame_says_so(store: EventStore) -> None:
    """It is as it was at the start."""
    async with stepping(store, version=3) as pilot:
        await pilot.press(*("up",) * 20, *("down",) * 3)
        await press(pilot, "y")
        assert "no event changed /memory" in seen(pilot)[-1]


async def test_fork_is_asked_for_then_a_stream_begins_there(store: EventStore) -> None:
    """Under the name that was typed; a name that is taken is refused."""
    async with stepping(store, LARGE, version=5) as pilot:
        await press(pilot, "F", "enter")
        assert "session/offsite-v5 begins as this stream up to version 5" in seen(pilot)[-1]
        inherited = await store.read("session/offsite-v5", limit=5).list()
        assert [event.id for event in inherited] == [
            event.id for event in await store.read(STREAM, limit=5).list()
        ]
        await press(pilot, "F", "enter")
        assert "there is a stream 'session/offsite-v5' already" in seen(pilot)[-1]


async def test_state_is_unfolded_then_its_members_are_seen(store: EventStore) -> None:
    """Enter opens, h closes, also from within."""
    async with stepping(store, version=8) as pilot:
        await pilot.press(*("up",) * 20)
        await press(pilot, "enter")
        assert any("title" in line for line in seen(pilot))
        await press(pilot, "down", "h")
        assert not any("conversation_id" in line for line in seen(pilot))


async def test_focus_goes_round_then_the_arrows_move_what_has_it(store: EventStore) -> None:
    """Event lines scroll, the timeline steps."""
    async with stepping(store, (80, 12), version=2) as pilot:
        await press(pilot, "tab", "down", "down")
        assert session_of(pilot).version == 2
        assert not any("message.added" in line[50:] for line in seen(pilot))
        await press(pilot, "tab", "down")
        assert session_of(pilot).version == 3


async def test_terminal_changes_its_size_then_everything_is_drawn_for_it(
    store: EventStore,
) -> None:
    """From small to large and back is the screen there was."""
    async with stepping(store) as pilot:
        before = seen(pilot)
        await pilot.resize_terminal(*LARGE)
        await settled(pilot)
        assert len(seen(pilot)[1]) == LARGE[0]
        await pilot.resize_terminal(*SMALL)
        await settled(pilot)
        assert seen(pilot) == before


async def test_handler_raises_then_the_status_line_names_it_without_the_payload(
    store: EventStore,
) -> None:
    """A reducer of the user's own may be wrong; the steps before it can still be looked at."""
    broken: Reducer[int] = Reducer("broken", initial=0, version=1)

    @broken.on("task.added")
    def added(state: int, event: Any) -> int:
        raise ValueError(event.data["title"])

    async with stepping(store, LARGE, version=2, reducer=broken) as pilot:
        await press(pilot, "f")
        said = "".join(seen(pilot)[-2:])
        assert "ValueError" in said
        assert "'task.added' (stream 'session/offsite' version 3)" in said
        assert "Book a room" not in said
        assert session_of(pilot).version == 2


async def test_log_is_damaged_then_the_program_ends_with_it(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage is told by the command, as everywhere; nothing goes on from there."""
    async with stepping(store) as pilot:
        damage = Corrupt("damaged", kind="hash")

        async def damaged(*_: Any) -> None:
            raise damage

        monkeypatch.setattr(session_of(pilot), "go", damaged)
        await pilot.press("f")
        assert isinstance(pilot.app, Stepper)
        assert pilot.app.failure is damage


async def test_job_is_long_then_escape_stops_it_and_the_place_stays(store: EventStore) -> None:
    """What was asked for can be taken back."""
    await store.append(STREAM, [NewEvent("n", {}) for _ in range(3_000)])
    async with stepping(store) as pilot:
        assert isinstance(pilot.app, Stepper)
        pilot.app.action_last()
        pilot.app.action_stop()
        await settled(pilot)
        assert session_of(pilot).version == 1
        assert "stopped" in seen(pilot)[-1]


async def test_names_in_the_state_read_as_markup_then_they_are_text_everywhere(
    store: EventStore,
) -> None:
    """Below the state, above a blame and above a value: no name becomes a style or an error."""
    notes: Reducer[dict[str, str]] = Reducer("notes", initial={}, version=1)

    @notes.on("n")
    def noted(state: dict[str, str], event: Any) -> dict[str, str]:
        return {**state, event.data["key"]: "[/]"}

    await store.append("marked", [NewEvent("n", {"key": "[/x] [bold]"})])
    app = Stepper(await Session.open(store, "marked", notes))
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert any("/[~1x] [bold] ─╯" in line for line in seen(pilot))
        await press(pilot, "y")
        assert any("blame /[~1x] [bold] ─" in line for line in seen(pilot))
        await press(pilot, "escape", "v")
        assert any("╭─ /[~1x] [bold] ─" in line for line in seen(pilot))


async def test_value_is_viewed_then_it_is_whole_with_what_it_was_before(store: EventStore) -> None:
    """What a panel of 80 columns has no room for."""
    async with stepping(store, version=5) as pilot:
        await press(pilot, "v")
        assert [line.strip("│ ") for line in seen(pilot)[1:6]] == [
            *("before", "pending", "", "after", "in_progress"),
        ]
        await press(pilot, "v")
        assert "5 of 10 events" in seen(pilot)[0]


async def test_blame_is_asked_for_then_it_goes_back_no_further_than_its_list(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a long session it is there at once where the newest events are its answer."""
    counts: Reducer[int] = Reducer("counts", initial=0, version=1)

    @counts.on("n")
    def counted(state: int, event: Any) -> int:
        return state + 1

    await store.append("counted", [NewEvent("n", {}) for _ in range(2_000)])
    session = await Session.open(store, "counted", counts, 2_000)
    gone: list[int] = []
    found = [
        each
        async for some in session.blame("", BLAMED_SHOWN, lambda done, _: gone.append(done))
        for each in some
    ]
    assert [each.event.version for each in found] == list(range(2_000, 1_800, -1))
    assert gone[-1] <= BLAMED_SHOWN + SPACING
    everything = [each async for some in session.blame("", 10_000) for each in some]
    assert everything == blame(await store.read("counted").list(), counts, "")


async def test_blame_has_found_something_then_it_is_shown_while_it_looks_further_back(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a long session the answer is most often the newest event; leaving the list ends it."""
    async with stepping(store, version=9) as pilot:
        session, goes_on = session_of(pilot), asyncio.Event()
        whole = session.blame

        async def slow(path: str, *rest: Any) -> AsyncIterator[Any]:
            async for some in whole(path, *rest):
                for each in some:
                    yield [each]
                    await goes_on.wait()

        monkeypatch.setattr(session, "blame", slow)
        await pilot.press("y")
        await pilot.pause()
        front = pilot.app.screen
        assert isinstance(front, Blames)
        assert front.query_one(OptionList).option_count == 1
        assert any("looking further back" in line for line in seen(pilot))
        await pilot.press("escape")
        await settled(pilot)  # would hang if it were not cancelled
        assert seen(pilot)[-1].strip() == HINT


async def test_drawing_fails_then_the_program_ends_with_the_error_and_shows_no_payload(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command tells it in a line, as every other error; no traceback with values is left."""
    secret = "Please book a room"

    def broken(event: Any, width: int) -> Any:
        raise ValueError(event.data["content"])

    monkeypatch.setattr("cli.stepper.app.event_lines", broken)
    app = Stepper(await Session.open(store, STREAM, agent, 2))
    with pytest.raises(ValueError, match=secret):
        async with app.run_test(size=SMALL) as pilot:
            await pilot.pause()
    assert isinstance(app.failure, ValueError)
    assert secret not in "".join(capsys.readouterr())


async def test_help_is_closed_twice_then_the_panels_are_there(store: EventStore) -> None:
    """A key pressed once more before the screen is gone is not taken for an error."""
    async with stepping(store) as pilot:
        await press(pilot, "?")
        front = pilot.app.screen
        assert isinstance(front, Help)
        front.action_leave()
        front.action_leave()
        await settled(pilot)
        assert len(pilot.app.screen_stack) == 1


async def test_line_has_one_style_then_it_is_drawn_with_it(store: EventStore) -> None:
    """The type above an event is bold in the colour of its kind, as it is in the timeline."""
    async with stepping(store, version=6) as pilot:
        drawn = pilot.app.query_one("#event", Panel).render_line(0)
        (style,) = {segment.style for segment in drawn if segment.text.strip()}
        assert style is not None
        assert (style.bold, style.color) == (True, Style.parse("yellow").color)
