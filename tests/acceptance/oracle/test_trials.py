"""What changed between two trials of one task: a patch that others can apply."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import jsonpatch
import pytest

from eventstore import EventStore
from reducers import changes_to_patch, diff, state_hash, to_json
from reducers.agent import agent

from ..conftest import EVENTSTORE, SECONDS_MAX
from .conftest import Imported
from .product import opened, streams_by_key
from .seeing import Seeing
from .sources import courses
from .stating import differences, exact

TASKS = range(50)
BY_COMMAND = (0, 3, 33, 46)
"""Tasks that are compared through the command too: a process takes most of a second."""


async def of_trials(store: EventStore, task: int) -> tuple[str, str]:
    """The streams of the task's first two trials."""
    streams = await streams_by_key(store)
    return streams[task, 0], streams[task, 1]


async def test_two_trials_of_each_task_then_the_patch_gives_the_second_state(
    imported: Imported,
) -> None:
    """For all 50 tasks, both ways: `diff` as an RFC 6902 patch, applied by `jsonpatch` to one
    state, gives the other; the states are those of the source."""
    sources = {one.key: one.tail for one in courses("tau-bench")}
    async with opened(imported, "tau-bench") as store:
        streams = await streams_by_key(store)
        for task in TASKS:
            states = [(await agent.load(store, streams[task, n])).state for n in (0, 1)]
            forms = [to_json(state) for state in states]
            for trial, state in enumerate(states):
                assert differences(sources[task, trial], Seeing().stated(state)) == []
            assert exact(forms[0]) != exact(forms[1]), f"task {task}"
            for one, other in ((0, 1), (1, 0)):
                patch = changes_to_patch(diff(states[one], states[other]))
                made = applied(patch, forms[one])
                assert exact(made) == exact(forms[other]), f"task {task}"
                assert state_hash(made) == state_hash(states[other])


def applied(patch: list[dict[str, Any]], document: Any) -> Any:
    """The document after the patch, which travels as JSON text."""
    return jsonpatch.JsonPatch.from_string(json.dumps(patch)).apply(document)


@pytest.mark.parametrize("task", BY_COMMAND)
async def test_two_trials_by_command_then_the_patch_gives_the_second_state(
    task: int, imported: Imported
) -> None:
    """`eventstore diff STREAM STREAM2 --patch --json` prints a patch that makes the second state
    of the first, as `eventstore state` prints them."""
    url = imported("tau-bench").url
    async with opened(imported, "tau-bench") as store:
        first, second = await of_trials(store, task)
    before, after = (
        told_as_json("state", stream, "--store", url)["state"] for stream in (first, second)
    )
    patch = told_as_json("diff", first, second, "--patch", "--store", url)
    assert patch
    assert exact(applied(patch, before)) == exact(after)
    assert exact(before) != exact(after)


def told_as_json(*arguments: str) -> Any:
    """What the command prints as JSON."""
    ran = subprocess.run(
        [str(EVENTSTORE), *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)
