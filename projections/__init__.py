"""Views fed from the log through the outbox. This room is built by a later issue."""
