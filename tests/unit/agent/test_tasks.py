"""The plan: tasks that are added, changed and removed by several hands."""

from __future__ import annotations

from typing import Any

from eventstore import NewEvent
from reducers.agent import tasks
from reducers.agent import vocabulary as v

Folded = Any

ONE = v.task_added(task_id="1", title="Call", attributes={"owner": "ann", "due": "mon"})
TWO = v.task_added(task_id="2", title="Write", status="in_progress")


def test_tasks_are_added_then_they_stand_in_that_order(folded: Folded) -> None:
    """The plan is its tasks, pending unless they say otherwise."""
    state = folded(tasks, TWO, ONE)
    assert [(key, task.title, task.status) for key, task in state.in_order] == [
        ("2", "Write", "in_progress"),
        ("1", "Call", "pending"),
    ]
    assert dict(state.tasks["1"].attributes) == {"owner": "ann", "due": "mon"}


def test_a_task_changes_then_only_what_is_stated_is_new(folded: Folded) -> None:
    """Two people may change different fields of a task one after the other."""
    state = folded(
        tasks,
        ONE,
        v.task_changed(task_id="1", status="completed"),
        v.task_changed(task_id="1", title="Call back", attributes={"owner": "bo"}),
    )
    task = state.tasks["1"]
    assert (task.title, task.status) == ("Call back", "completed")
    assert dict(task.attributes) == {"owner": "bo", "due": "mon"}


def test_a_task_is_removed_then_numbers_are_not_given_again(folded: Folded) -> None:
    """Removing one task moves no other."""
    state = folded(tasks, ONE, TWO, v.task_removed(task_id="1"), ONE)
    assert [(key, task.number) for key, task in state.in_order] == [("2", 2), ("1", 3)]
    assert state.added == 3


def test_a_removed_task_is_changed_then_it_stays_removed(folded: Folded) -> None:
    """A change that was under way does not bring a task back."""
    change = v.task_changed(task_id="1", status="completed")
    state = folded(tasks, ONE, v.task_removed(task_id="1"), change, v.task_removed(task_id="1"))
    assert len(state.tasks) == 0


def test_a_task_is_added_again_then_it_keeps_its_place(folded: Folded) -> None:
    """Adding what is there states all of its fields anew."""
    state = folded(tasks, ONE, TWO, v.task_added(task_id="1", title="New"))
    task = state.tasks["1"]
    assert (task.number, task.title, task.status, dict(task.attributes)) == (
        1,
        "New",
        "pending",
        {},
    )


def test_fields_cannot_be_read_then_the_plan_is_still_defined(folded: Folded) -> None:
    """An added task without an id has its event's; other odd fields count as absent."""
    state = folded(
        tasks,
        NewEvent("task.added", {"title": 5, "status": None, "attributes": "x"}),
        NewEvent("task.changed", {"task_id": "e1", "title": [], "status": "", "attributes": 1}),
        NewEvent("task.changed", {"task_id": None, "title": "lost"}),
        NewEvent("task.removed", {}),
        NewEvent("task.added", {"task_id": 7}),
    )
    assert [(key, task.title, task.status) for key, task in state.in_order] == [
        ("e1", "", "pending"),
        ("7", "", "pending"),
    ]
