"""What happens in the demo, as data: change it, and the log and all that is told change with it."""

from __future__ import annotations

from typing import Any

import msgspec

AGENT = "atlas"
ANN = "ann"
BEN = "ben"


PLAN = {"venue": "Book a venue", "train": "Buy train tickets", "menu": "Choose a menu"}
TITLE_CHANGED = {"task_id": "venue", "title": "Book a venue with a garden"}
WORK_BEGUN = {"task_id": "venue", "status": "in_progress"}


class Script(msgspec.Struct, frozen=True):
    """One story. `ann_changes` and `ben_changes` are written at the same moment, each on what was
    there before: fields of a task, with its `task_id`."""

    session: str = "offsite"
    title: str = "Plan the team off-site"
    request: str = "Plan our off-site on 12 March, for twelve people. Ben helps."
    preference: str = "I am vegetarian. Please keep that in mind."
    memory_id: str = "ben-food"
    remembered: str = "Ben is vegetarian"
    tasks: dict[str, str] = msgspec.field(default_factory=PLAN.copy)
    ann_changes: dict[str, Any] = msgspec.field(default_factory=TITLE_CHANGED.copy)
    ben_changes: dict[str, Any] = msgspec.field(default_factory=WORK_BEGUN.copy)
    mail_to: str = "host@garden.example"
    mail_text: str = "Do you have room for twelve on 12 March?"
    mail_failures: int = 1
    deposit: str = "Pay a deposit of 200 EUR"
    correction: str = "I do eat fish, by the way."
    corrected: str = "Ben eats fish, and no meat"
    closing: str = "The venue is asked and the deposit agreed. I will remember the fish."


SCRIPT = Script()
