"""The commands of time travel as real processes, one after the other as a person uses them."""

from __future__ import annotations

import json

from .conftest import Command

STEPS = """
set -e
eventstore bisect board/7 'tasks["1"].status == "completed"' --reducer tasks --json > found.json
version=$(python -c 'import json; print(json.load(open("found.json"))["version"])')
eventstore blame board/7 /tasks/1/status --reducer tasks --at "$version" --json > blamed.json
eventstore fork board/7 --at "$((version - 1))" --into board/otherwise > forked.txt
eventstore append board/otherwise task.changed '{"task_id": "2", "status": "completed"}' > appended
eventstore diff board/7 board/otherwise --reducer tasks --events --json
"""


def test_culprit_found_and_another_way_tried_then_where_they_part(
    board: Command, shell: Command
) -> None:
    """From "what made it so" to "what if it had not been" in one script, with exit codes and JSON
    that a shell can use."""
    ran = shell(STEPS)
    assert (ran.returncode, ran.stderr) == (0, "")
    parting = json.loads(ran.stdout)
    assert parting["common"] == 3
    assert (parting["a"]["version"], parting["b"]["version"]) == (4, 5)
    assert parting["changes"] == [
        {"op": "replace", "path": "/task_id", "before": "1", "after": "2"}
    ]
    blamed = [json.loads(line) for line in shell("cat blamed.json").stdout.splitlines()]
    assert [each["version"] for each in blamed] == [4, 1]


def test_diff_on_a_colour_terminal_then_as_git_colours_it(board: Command) -> None:
    """What was is red and what is is green; who wants no colour gets none."""
    coloured = board("diff", "board/7", "3", "--reducer", "tasks", FORCE_COLOR="1").stdout
    assert '\x1b[31m- "pending"\x1b[0m' in coloured
    assert '\x1b[32m+ "completed"\x1b[0m' in coloured
    assert "\x1b[1;33m/tasks/1/status" in coloured


def test_wrong_words_then_exit_codes_and_one_line(board: Command) -> None:
    """A script tells wrong usage from a store that says no."""
    for arguments, code in (
        (("bisect", "board/7", "import os"), 2),
        (("fork", "board/7", "--into", "board/8"), 1),
    ):
        ran = board(*arguments)
        assert (ran.returncode, ran.stdout) == (code, "")
        assert ran.stderr.startswith("eventstore: ")
        assert ran.stderr.count("\n") == 1
