"""``eventstore projections`` inside one process: which views and keys are meant, what is refused.
What processes and terminals do is in `tests/acceptance/test_projection_commands.py`."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cli.commands.projections.status import _seconds
from cli.exits import Stop
from cli.rendering.screen import Screen
from cli.views import Known, has_code, key_of, key_text_of, keys_of, without_code
from projections import CacheView, Projection, RelationalView
from projections.stock import session_state

from .conftest import Run

VIEWS = """
from projections import CacheView, Projection, Upsert
from projections.stock.session_state import projection as state

titles = CacheView(Projection("titles", map=lambda event: None, types=["task.added"]))
others = [CacheView(Projection(name, map=lambda event: None)) for name in ("one", "two")]
mapped = {"three": CacheView(Projection("three", map=lambda event: None))}
taken = CacheView(Projection("audit", map=lambda event: None))
longer = CacheView(state, expire_seconds=60)
nothing = 42
"""

KINDS = """
from projections import CacheView, Projection, Upsert


def key(event):
    return event.data["key"]


def row(event):
    return Upsert(key(event), {"position": event.position})


kinds = CacheView(Projection("kinds", key=key, map=row, types=["said"]))
"""


@pytest.fixture
def mine(run: Run) -> Run:
    """The command in a folder with a file of views."""
    Path("views.py").write_text(VIEWS)
    Path("some.py").write_text(VIEWS.replace("taken = ", "# "))
    return run


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("views.py:titles", ["titles"]),
        ("views.py:others", ["one", "two"]),
        ("views.py:mapped", ["three"]),
        ("views.py:longer", ["session_state"]),
        ("views:titles", ["titles"]),
        ("some.py", ["titles", "session_state"]),
    ],
)
def test_views_are_named_then_they_are_found(
    mine: Run, monkeypatch: pytest.MonkeyPatch, typed: str, names: list[str]
) -> None:
    """A view, a list or a dict of views, or all of a file; by path or by module."""
    monkeypatch.syspath_prepend(".")
    known = Known([typed])
    assert [view.name for view in known.chosen(None)] == names
    assert [view.name for view in known.chosen(names)] == names


def test_no_views_are_named_then_the_stock_ones_are_meant(run: Run) -> None:
    """Stock views need no code; the user's own take the place of the default choice."""
    assert list(Known(None).all) == [view.name for view in Known(None).chosen(None)]
    assert "sessions" in Known(None).all


def test_a_stock_projection_is_declared_otherwise_then_the_users_view_takes_its_place(
    mine: Run,
) -> None:
    """Another sink or expiry for a stock projection is no second view of its name."""
    known = Known(["views.py:longer"])
    chosen = known.one("session_state")
    assert isinstance(chosen, CacheView)
    assert chosen.expire_seconds == 60
    assert chosen.projection is session_state().projection


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("views.py:taken", 2, "there is another view 'audit'"),
        ("views.py:nothing", 2, "holds no view"),
        ("views.py:absent", 2, "use one of titles, taken, longer"),
        ("absent.py:x", 2, "no file 'absent.py'"),
        ("absent:x", 2, "no module 'absent'"),
        ("broken.py", 1, "'broken.py' does not import: NameError, line 1"),
    ],
)
def test_views_are_named_wrongly_then_one_line_says_what_to_do(
    mine: Run, typed: str, code: int, said: str
) -> None:
    """Wrong usage ends with 2, code that does not import with 1."""
    Path("broken.py").write_text("nonsense\n")
    ran = mine("projections", "list", "--views", typed)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.startswith("eventstore: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "sesions"), "did you mean 'sessions'?"),
        (("run", "--once", "xyz"), "its code is given with --views file.py:name"),
        (("status", "xyz"), "see eventstore projections list"),
        (("dead-letters", "audiit"), "did you mean 'audit'?"),
        (("show", "memories", "x"), "a key has 2 parts, not 1; give STREAM MEMORY_ID"),
        (("show", "audit", "x"), "position: 'x' is no number"),
        (("show", "audit", "1", "--at-least", "-1"), "--at-least: '-1' is no position"),
        (("retry", "audit"), "which key; name one, or give --all"),
        (("retry", "audit", "k", "--all"), "which key; name one, or give --all"),
        (("drop", "audit", "k"), "Missing option '--reason'"),
        (("drop", "audit", "k", "--reason", " "), "--reason: it is empty"),
        (("statsu",), "did you mean 'status'?"),
        (("nonsense",), "see eventstore projections --help"),
    ],
)
def test_projections_are_called_wrongly_then_exit_code_2_and_what_to_do(
    board: Run, arguments: tuple[str, ...], said: str
) -> None:
    """What cannot be meant is refused before anything is written."""
    ran = board("projections", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_group_is_called_alone_then_its_help_and_exit_code_2(run: Run) -> None:
    """As the program itself without a command."""
    ran = run("projections")
    assert ran.code == 2
    assert "dead-letters" in ran.out
    assert run("projections", "--help").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "audit", "1"), "run a relay: 'eventstore projections run'"),
        (("dead-letters", "audit"), "run a relay"),
        (("retry", "audit", "k"), "run a relay"),
        (("drop", "audit", "k", "--reason", "r"), "run a relay"),
    ],
)
def test_a_view_was_never_fed_then_the_store_says_no(
    board: Run, arguments: tuple[str, ...], said: str
) -> None:
    """A known view without rows is exit code 1, with what to do."""
    ran = board("projections", *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err


def test_nothing_is_built_then_status_says_how_to_begin(board: Run) -> None:
    """A new store has no views, and no errors for that."""
    assert "eventstore projections run" in board("projections", "status").out
    assert board("projections", "status", "--json").out == ""
    assert board("projections", "dead-letters").out == "nothing is parked\n"


def test_nothing_is_parked_then_retry_and_drop_say_so(board: Run) -> None:
    """A key that does not wait is refused; --all of nothing is done."""
    board("projections", "run", "--once", "audit")
    assert board("projections", "retry", "audit", "--all").out == "nothing waits\n"
    for arguments in (("retry", "audit", "k"), ("drop", "audit", "k", "--reason", "r")):
        ran = board("projections", *arguments)
        assert ran.code == 1
        assert "no dead letter of key 'k'" in ran.err


def test_the_store_is_not_there_then_no_command_makes_one(run: Run) -> None:
    """A mistyped path is no new store."""
    for arguments in (("list",), ("run", "--once"), ("status",), ("show", "audit", "1")):
        assert run("projections", *arguments, "--store", "typo.db").code == 1
    assert run("recall", "x", "--store", "typo.db").code == 1
    assert not Path("typo.db").exists()


def test_a_row_is_shown_then_each_field_has_a_line(board: Run) -> None:
    """For a person an outline, for a machine one object; an absent row is an answer."""
    board("projections", "run", "--once", "sessions", "session_state", "audit")
    shown = board("projections", "show", "audit", "@1"[1:])
    assert shown.out.startswith("audit 1  good for position 3, ")
    assert "type  task.added\n" in shown.out
    state = board("projections", "show", "session_state", "board/7", "--json")
    assert json.loads(state.out)["value"]["tasks"]["tasks"]["2"]["title"] == "Order food"
    assert board("projections", "show", "session_state", "x").out.endswith("no row\n")


def table_view(*columns: sa.Column[Any]) -> RelationalView:
    """A view whose key has these columns."""
    return RelationalView(
        Projection("rows", map=lambda event: None), sa.Table("rows", sa.MetaData(), *columns)
    )


def test_a_key_is_typed_then_it_has_the_types_of_the_views_columns() -> None:
    """Numbers where the columns are, texts that look like numbers where they are not; words or a
    JSON array."""
    number = partial(sa.Column[Any], "n", sa.BigInteger, primary_key=True)
    assert key_of(table_view(number()), ["7"]) == 7
    both = table_view(sa.Column("s", sa.Text, primary_key=True), number())
    assert key_of(both, ["7", "7"]) == ("7", 7)
    assert key_of(both, ['["a",7]']) == ("a", 7)
    with pytest.raises(Stop, match="2 parts, not 3"):
        key_of(both, ["a", "b", "c"])
    plain = CacheView(Projection("plain", map=lambda event: None))
    assert key_of(plain, ["7"]) == "7"
    assert key_of(plain, ["a", "b"]) == ("a", "b")


def test_no_column_says_what_a_key_is_then_it_is_what_is_written_so_or_a_text() -> None:
    """A word is looked for as messages would write the key, and then as a text."""
    plain = CacheView(Projection("plain", map=lambda event: None))
    assert keys_of(plain, ["7"]) == [7, "7"]
    assert keys_of(plain, ['"7"']) == ["7", '"7"']
    assert keys_of(plain, ["board/7"]) == ["board/7"]
    assert keys_of(plain, ['["a",7]']) == [("a", 7)]
    assert keys_of(table_view(sa.Column("n", sa.BigInteger, primary_key=True)), ["7"]) == [7]


def test_keys_are_numbers_and_texts_then_show_finds_each(run: Run) -> None:
    """A cache has a row for each, which is found as it is written, and a text alone as it is."""
    Path("kinds.py").write_text(KINDS)
    mine = ("--views", "kinds.py")
    for key in (7, "7", "8"):
        assert run("append", "s", "said", json.dumps({"key": key})).code == 0
    assert run("projections", "run", "--once", "kinds", *mine).code == 0
    for typed, key, position in (("7", 7, 1), ('"7"', "7", 2), ("8", "8", 3), ('"8"', "8", 3)):
        shown = json.loads(run("projections", "show", "kinds", typed, *mine, "--json").out)
        assert (shown["key"], shown["value"]) == (key, {"position": position})
    built = run("projections", "rebuild", "kinds", "--key", '"7"', *mine, "--json")
    assert (built.code, json.loads(built.out)["key"]) == (0, '"7"')


def test_a_parked_key_is_typed_with_spaces_then_it_is_the_stored_one() -> None:
    """A JSON array may be written in any way; any other text is the key itself."""
    assert key_text_of('[ "a", 7 ]') == '["a",7]'
    assert key_text_of("[draft") == "[draft"
    assert key_text_of("board/7") == "board/7"


def test_only_the_name_is_known_then_the_view_has_no_code() -> None:
    """What the store keeps of a view can be told without it."""
    assert not has_code(without_code("notes"))
    assert has_code(Known(None).one("audit"))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0"), (0.04, "0.0"), (12.3, "12.3"), (900, "15 m"), (7_200, "120 m"), (864_000, "10 d")],
)
def test_a_lag_is_shown_then_in_a_few_characters(seconds: float, shown: str) -> None:
    """Tenths of seconds, then minutes, hours and days."""
    assert _seconds(seconds) == shown


def test_a_screen_is_redrawn_then_a_pipe_has_each_and_a_terminal_the_last_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What takes the place of what was drawn before moves the cursor back up."""
    piped = io.StringIO()
    with Screen(piped).redrawn() as redraw:
        for text in ("first", "second"):
            redraw(lambda screen, text=text: screen.line(text))  # type: ignore[misc]
    assert piped.getvalue() == "first\nsecond\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    drawn = io.StringIO()
    with Screen(drawn).redrawn() as redraw:
        for text in ("first", "second"):
            redraw(lambda screen, text=text: screen.line(text, ("!", "red")))  # type: ignore[misc]
    assert drawn.getvalue().index("first") < drawn.getvalue().rindex("\x1b[2K")
    assert drawn.getvalue().rindex("second") > drawn.getvalue().index("\x1b[2K")


def test_a_recall_is_asked_wrongly_then_exit_code_2(board: Run) -> None:
    """Times without a zone, numbers out of range and empty questions are wrong usage."""
    for arguments in (
        ("",),
        ("x", "--since", "yesterday"),
        ("x", "--until", "2026-01-01T10:00:00"),
        ("x", "-k", "0"),
        ("x", "-k", "1001"),
    ):
        ran = board("recall", *arguments)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert ran.err.count("\n") == 1


STRICT = """
from projections import CacheView, Projection, Upsert


def noted(event):
    if event.data["text"] in {refused}:
        raise ValueError(event.data["text"])
    return Upsert(event.stream, event.data["text"])


notes = CacheView(Projection("notes", map=noted, types=["note"]), attempts=1)
"""


@pytest.mark.parametrize(
    ("arguments", "said", "row"),
    [
        (("retry", "notes", "--all", "--views", "lax.py"), "1 event delivered", "bad"),
        (("drop", "notes", "b", "--reason", "r", "--views", "strict.py"), "gave up", None),
        (("rebuild", "notes", "--accept-parked", "--views", "strict.py"), "1 key parked", None),
    ],
)
def test_a_rebuild_parks_a_key_that_is_served_then_it_serves_once_that_is_settled(
    run: Run, arguments: tuple[str, ...], said: str, row: str | None
) -> None:
    """The rebuild says no and what to do; the build and what waits in it are seen until then."""
    Path("lax.py").write_text(STRICT.replace("{refused}", "[]"))
    Path("strict.py").write_text(STRICT.replace("{refused}", '["bad"]'))
    for stream, text in (("a", "good"), ("b", "bad")):
        assert run("append", stream, "note", json.dumps({"text": text})).code == 0
    assert run("projections", "run", "--once", "--views", "lax.py").code == 0
    ran = run("projections", "rebuild", "notes", "--views", "strict.py")
    assert (ran.code, "generation 2 is built" in ran.out) == (1, True)
    assert "does not take over: 1 parked key would lose the rows that serve" in ran.err
    assert "retry notes --all" in ran.err
    show = ("projections", "show", "notes", "b", "--views", "lax.py", "--json")
    assert json.loads(run(*show).out)["value"] == "bad"
    told = run("projections", "status").out
    assert "notes: generation 2 does not take over" in told
    assert "generation 2, of version 1, is being built by nobody" in told
    assert "in generation 2 (building)" in run("projections", "dead-letters").out
    (letter,) = run("projections", "dead-letters", "notes", "--json").out.splitlines()
    assert (json.loads(letter)["generation"], json.loads(letter)["key"]) == (2, "b")

    ran = run("projections", *arguments)
    assert (ran.code, said in ran.out, "generation 2 serves" in ran.out) == (0, True, True)
    assert json.loads(run(*show).out)["value"] == row
    assert "generation 2" not in run("projections", "status").out
