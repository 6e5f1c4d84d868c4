"""The plan: tasks by id, as users and agents add, change and remove them.

- `task.added` without a usable id takes its event's id. For a task that is there it replaces
  title, status and attributes; the task keeps its place.
- `task.changed` changes what it states, attributes key by key. For a task that is not there, or is
  no longer there, it changes nothing: a removed task does not come back by a change under way.
- `task.removed` takes the task out of the state.
"""

from __future__ import annotations

from typing import Any

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent

from .. import Reducer
from . import vocabulary
from .fields import fields, identifier, mapping, text

PENDING = "pending"
COMPLETED = "completed"


class Task(Struct, frozen=True):
    """One task. `number` is its place: tasks count from 1 as they are added, and a number is
    never given twice."""

    number: int
    title: str = ""
    status: str = PENDING
    attributes: Map[str, Any] = Map()


class Tasks(Struct, frozen=True):
    """Tasks by their id; `added` is how many there ever were."""

    tasks: Map[str, Task] = Map()
    added: int = 0

    @property
    def in_order(self) -> list[tuple[str, Task]]:
        """(id, task) in the order in which they were added. Walks all tasks."""
        return sorted(self.tasks.items(), key=lambda item: item[1].number)


tasks: Reducer[Tasks] = Reducer("tasks", initial=Tasks(), version=1)


@tasks.on(vocabulary.TASK_ADDED)
def task_added(state: Tasks, event: RecordedEvent) -> Tasks:
    """Adds a task, or gives one that is there all its fields anew."""
    data = fields(event)
    task_id = identifier(data.get("task_id")) or event.id
    known = state.tasks.get(task_id)
    added = state.added if known is not None else state.added + 1
    task = Task(
        number=added if known is None else known.number,
        title=text(data.get("title")) or "",
        status=text(data.get("status")) or PENDING,
        attributes=Map(mapping(data.get("attributes")) or {}),
    )
    return Tasks(state.tasks.set(task_id, task), added)


@tasks.on(vocabulary.TASK_CHANGED)
def task_changed(state: Tasks, event: RecordedEvent) -> Tasks:
    """Changes the fields that are stated, of a task that is there."""
    data = fields(event)
    task_id = identifier(data.get("task_id"))
    task = None if task_id is None else state.tasks.get(task_id)
    if task_id is None or task is None:
        return state
    title, status = text(data.get("title")), text(data.get("status"))
    attributes = mapping(data.get("attributes"))
    task = replace(
        task,
        title=task.title if title is None else title,
        status=status or task.status,
        attributes=task.attributes.update(attributes) if attributes else task.attributes,
    )
    return replace(state, tasks=state.tasks.set(task_id, task))


@tasks.on(vocabulary.TASK_REMOVED)
def task_removed(state: Tasks, event: RecordedEvent) -> Tasks:
    """Takes a task out."""
    task_id = identifier(fields(event).get("task_id"))
    if task_id is None or task_id not in state.tasks:
        return state
    return replace(state, tasks=state.tasks.delete(task_id))
