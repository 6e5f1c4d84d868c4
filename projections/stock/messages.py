"""The view `messages`: a row for each message of a stream, with its text as it is read. A fork has
rows of its own for those that it inherits, under the same ids."""

from __future__ import annotations

import sqlalchemy as sa

from eventstore import RecordedEvent
from reducers.agent import Conversation, vocabulary
from reducers.agent.conversation import message_added
from reducers.agent.fields import fields, text

from ..projection import Projection, Upsert
from ..relational import RelationalView
from .columns import Moment, Words, column

table = sa.Table(
    "messages",
    sa.MetaData(),
    column("stream", sa.Text, key=True),
    column("id", sa.Text, key=True),
    column("version", sa.BigInteger, required=True),
    column("position", sa.BigInteger, required=True),
    column("role", Words, required=True),
    column("text", Words, required=True),
    column("reasoning", Words, required=True),
    column("author", Words),
    column("message_id", Words),
    column("occurred_at", Moment),
    column("recorded_at", Moment, required=True),
    sa.Index("messages_of_a_stream", "stream", "version"),
    sa.Index("messages_by_time", "recorded_at"),
)

projection = Projection("messages", version=2)
_NONE_YET = Conversation()


@projection.on(vocabulary.MESSAGE_ADDED)
def message(event: RecordedEvent) -> Upsert:
    """The row of a message; what cannot be read of it is left out, as in the state of a
    conversation."""
    said = message_added(_NONE_YET, event).messages[0]
    name = text(fields(event).get("name"))
    return Upsert(
        (event.stream, event.id),
        {
            "version": event.version,
            "position": event.position,
            "role": said.role,
            "text": said.text,
            "reasoning": said.reasoning,
            "author": event.actor if name is None else name,
            "message_id": said.message_id,
            "occurred_at": event.occurred_at,
            "recorded_at": event.recorded_at,
        },
    )


messages = RelationalView(projection, table)
