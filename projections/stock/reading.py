"""Reading what the stock views need of an event beside its fields."""

from __future__ import annotations

from eventstore import RecordedEvent


def at_us(event: RecordedEvent) -> int:
    """When it happened: by its source, or else by the store; microseconds since 1970."""
    return event.recorded_us if event.occurred_us is None else event.occurred_us


def user_of(tags: tuple[str, ...]) -> str | None:
    """Whom a tag such as ``user:ann`` names; the first that names one."""
    for tag in tags:
        if tag.startswith("user:") and len(tag) > len("user:"):
            return tag.removeprefix("user:")
    return None
