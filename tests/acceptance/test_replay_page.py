"""The page of ``eventstore replay --html``, opened in a headless Chromium and driven by keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import main
from cli.loading import find_reducer
from eventstore import EventStore, NewEvent, Version
from reducers import to_json
from tests.browser import Page, browser

STREAM = "session/<b>"
HOSTILE = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'><!--"
LARGE = 2**60 + 1
STEPS = 600
"""More than twice as many as the page keeps states for, so that jumps start from a kept one."""

REDUCER = """
from reducers import Reducer

notes = Reducer("notes", initial={"all": {}, "last": [], "number": 0})


@notes.on("note.added")
def added(state, event):
    key = event.data["key"]
    return {
        "all": {**state["all"], key: event.data["text"]},
        "last": [*state["last"][-2:], {"key": key, "in": {"~/": [event.data["amount"]]}}],
        "number": state["number"] + 1,
    }


@notes.on("note.dropped")
def dropped(state, event):
    left = {key: text for key, text in state["all"].items() if key != event.data["key"]}
    return {**state, "all": left, "last": state["last"][1:]}
"""


def history() -> list[NewEvent]:
    """Events whose texts and names would do harm where they are taken for markup or code."""
    keys = ["__proto__", "constructor", "\0number", "a/b~c", HOSTILE, "1", "last\u202eturned"]
    events = [
        NewEvent("note.added", {"key": key, "text": HOSTILE, "amount": LARGE + number})
        for number, key in enumerate(keys)
    ]
    events += [NewEvent("note.dropped", {"key": key}) for key in keys[::2]]
    events += [
        NewEvent("note.added", {"key": f"k{number}", "text": "one\nof many", "amount": number / 2})
        for number in range(STEPS - len(events))
    ]
    return events


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store with the hostile session, and its page."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "notes.py").write_text(REDUCER)

    async def fill() -> None:
        async with EventStore.open(f"sqlite:///{folder}/agent.db") as store:
            await store.append(STREAM, history(), actor="<i>ann</i>")

    asyncio.run(fill())
    page = folder / "replay.html"
    store = str(folder / "agent.db")
    reducer = f"{folder}/notes.py:notes"
    assert (
        main(["replay", STREAM, "--store", store, "--reducer", reducer, "--html", str(page)]) == 0
    )
    return folder, page


@pytest.fixture(scope="module")
def opened(written: tuple[Path, Path]) -> Iterator[Page]:
    """The page in a browser of this module's own."""
    folder, file = written
    with browser(folder / "profile") as page:
        page.open(file)
        yield page


@pytest.fixture
def page(opened: Page) -> Page:
    """The page as it is when it was opened: at the first event, nothing searched."""
    opened.evaluate("search(''); byId('search').value = ''; byId('timeline').focus(); show(0)")
    return opened


def test_page_opened_from_a_file_then_nothing_is_asked_for_and_no_payload_runs(
    page: Page, written: tuple[Path, Path]
) -> None:
    """What an agent wrote is shown as text, and the page needs nothing but itself."""
    for key in ("End", "Home", "ArrowRight"):
        page.press(key)
    assert page.asked == [written[1].as_uri()]
    assert page.told == []
    assert page.evaluate("typeof window.harmed") == "undefined"
    assert page.text("#stream") == STREAM
    assert HOSTILE in page.text("#event")
    assert page.text(".row .about").strip() == "<i>ann</i>"
    assert page.evaluate("document.querySelectorAll('img, iframe, object, link').length") == 0


def test_script_smuggled_into_the_page_then_the_policy_stops_it(page: Page) -> None:
    """Should a text ever become markup, it still does not run, and nothing is fetched."""
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<i onclick=\"window.harmed=3\">')"
    )
    page.evaluate("document.body.lastElementChild.click(); document.body.lastElementChild.remove()")
    assert page.evaluate("typeof window.harmed") == "undefined"
    assert page.evaluate("fetch('file:///etc/hostname').then(() => 'read', () => 'refused')") == (
        "refused"
    )
    page.told.clear()  # the browser tells both


def test_state_made_in_the_page_then_that_of_the_library(
    page: Page, written: tuple[Path, Path]
) -> None:
    """At any version, reached by a jump or by steps in either direction, the state is the fold."""
    folder, _ = written
    notes = find_reducer(f"{folder}/notes.py:notes")

    async def states(versions: list[int]) -> list[object]:
        async with EventStore.open(f"sqlite:///{folder}/agent.db") as store:
            return [(await notes.load(store, STREAM, at=Version(v))).state for v in versions]

    versions = [0, 7, 600, 300, 299, 12, 11, 10, 256, 257, 512, 1]
    found = json.loads(
        page.evaluate(f"JSON.stringify({versions}.map(v => asText(stateAt(v - 1))))")
    )
    expected = [to_json(state) for state in asyncio.run(states(versions))]
    assert [json.loads(text) for text in found] == expected
    assert str(LARGE + 6) in found[1]
    assert "294.0" in found[2]


def test_many_changes_are_applied_then_what_nobody_holds_is_not_copied_again(page: Page) -> None:
    """A jump over thousands of events takes no copy of a large state for each of them."""
    found = page.evaluate(
        """(() => {
          const state = {a: {}}, owned = new Set();
          const one = applied(state, {op: "add", path: "/a/b", value: 1}, {}, owned);
          const two = applied(one, {op: "add", path: "/a/c", value: 2}, {}, owned);
          return [one === state, two === one, JSON.stringify([state, two])];
        })()"""
    )
    assert found == [False, True, '[{"a":{}},{"a":{"b":1,"c":2}}]']


def test_steps_go_back_then_only_the_first_of_them_applies_many_events(page: Page) -> None:
    """The states before the one that is looked at are kept."""
    read = page.evaluate(
        """(() => {
          const parse = JSON.parse, read = [];
          let count = 0;
          JSON.parse = (...rest) => { count += 1; return parse(...rest); };
          show(510);
          for (let at = 509; at > 500; at -= 1) { count = 0; show(at); read.push(count); }
          JSON.parse = parse;
          return read;
        })()"""
    )
    assert read[0] > 200
    assert max(read[1:]) <= 4


def test_member_of_a_large_object_changes_then_it_is_in_the_tree(page: Page) -> None:
    """Only a part of a large object is drawn, but what the event changed is."""
    page.press("End")
    found = page.evaluate(
        "[...document.querySelectorAll('#tree .changed > .name')].map(each => each.textContent)"
    )
    assert "k588" in found


def test_arrow_keys_then_a_step_at_a_time(page: Page) -> None:
    """Forward and back, to both ends, and never beyond them."""
    page.press("ArrowRight", "ArrowRight")
    assert page.evaluate("byId('version').value") == "3"
    assert "version 3: note.added" in page.text("#heard")
    assert page.text("#changes .path") == "+ /all/\\x00number"
    page.press("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert page.evaluate("byId('version').value") == "0"
    assert page.text("#changed") == "Nothing happened yet"
    page.press("End", "ArrowRight")
    assert page.evaluate("byId('version').value") == str(STEPS)
    assert page.evaluate("byId('forward').disabled") is True
    assert page.text(".row[aria-selected=true] .number") == f"v{STEPS}"


def test_search_by_keys_then_the_timeline_holds_the_matches(page: Page) -> None:
    """A word of a payload is found, also one that JSON or HTML write otherwise."""
    page.press("/", *"</script>", "Enter")
    assert page.text("#found") == "8 found"
    assert page.evaluate("document.querySelectorAll('.row').length") == 8
    assert page.evaluate("byId('version').value") == "2"
    page.press("n")
    assert page.evaluate("byId('version').value") == "3"
    page.press("N", "N")
    assert page.evaluate("byId('version').value") == "1"
    page.press("Escape")
    assert page.text("#found") == ""


@pytest.mark.parametrize(
    ("words", "found"),
    [("changes", 0), ("path", 0), ("number", 2), ("added", 596), ("294.0", 1)],
)
def test_words_of_the_page_itself_searched_then_only_events_that_say_them(
    page: Page, words: str, found: int
) -> None:
    """Each line of the page names its parts: these are no words of the session."""
    page.evaluate(f"search({json.dumps(words)})")
    assert page.text("#found") == f"{found} found"


def test_go_to_a_version_and_help_by_keys_then_both_open(page: Page) -> None:
    """No mouse is needed, and the keys are told."""
    page.press("g", *"298", "Enter")
    assert "version 298:" in page.text("#heard")
    assert page.evaluate("document.activeElement.id") == "timeline"
    page.press("?")
    assert page.evaluate("byId('keys').open") is True
    assert "search types, actors and payloads" in page.text("#keylist")
    page.press("Escape")
    assert page.evaluate("byId('keys').open") is False


def test_link_to_a_version_then_the_page_begins_there(
    page: Page, written: tuple[Path, Path]
) -> None:
    """The address names the step, so that a colleague can be sent to it."""
    page.press("g", *"42", "Enter")
    assert page.evaluate("location.hash") == "#v42"
    page.open(written[1], "?again#v17")
    assert "version 17:" in page.text("#heard")


def test_page_looked_at_then_the_timeline_lies_beside_the_state(page: Page, tmp_path: Path) -> None:
    """What is drawn is seen: three columns on a wide screen, and none of it empty."""
    boxes = page.evaluate(
        "[...document.querySelectorAll('section')].map(s => s.getBoundingClientRect().toJSON())"
    )
    assert [box["top"] for box in boxes] == [boxes[0]["top"]] * 3
    assert all(box["width"] > 250 and box["height"] > 400 for box in boxes)
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000
