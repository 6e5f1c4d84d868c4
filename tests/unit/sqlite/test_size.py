"""What an event takes on disk."""

from __future__ import annotations

import random
from pathlib import Path

from eventstore import EventStore, NewEvent

TIMES_THE_PAYLOAD = 2.4


async def test_events_of_400_bytes_are_stored_then_the_file_is_at_most_2_4_times_as_large(
    url: str, file: Path
) -> None:
    """With all indexes, one random key and one tag each, closed and folded into one file."""
    chance, payloads = random.Random(7), 0
    async with EventStore.open(url) as store:
        for n in range(4_000):
            text = f"{chance.getrandbits(1_552):0388x}"
            key = f"{chance.getrandbits(128):032x}"
            event = NewEvent("message.added", {"text": text}, tags=[f"user:{n % 50}"])
            result = await store.append(f"session/{n % 100}", event, idempotency_key=key)
            payloads += len(result.events[0].payload)
    assert payloads == 4_000 * 399
    assert file.stat().st_size <= TIMES_THE_PAYLOAD * payloads
