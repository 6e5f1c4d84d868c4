"""What the driver says, and what becomes of it."""

from __future__ import annotations

import asyncpg
import pytest

from eventstore import StorageFailed
from eventstore.engines.postgres.errors import is_lost, translate


def test_a_pooler_refuses_session_settings_then_the_option_is_named_and_nobody_waits() -> None:
    """PgBouncer's words for it; its others are a lost server, which is waited for."""
    refused = asyncpg.ProtocolViolationError("unsupported startup parameter: lock_timeout")
    assert not is_lost(refused)
    told = translate(refused, "postgresql://h/d")
    assert isinstance(told, StorageFailed)
    assert "pooler=on" in str(told)
    assert is_lost(asyncpg.ProtocolViolationError("server closed the connection unexpectedly"))


@pytest.mark.parametrize("detail", ["detail", "hint", "context", "internal_query"])
def test_an_error_holds_a_row_then_nothing_of_it_is_passed_on(detail: str) -> None:
    """Neither in the store's error nor in its cause."""
    error = asyncpg.CheckViolationError("new row violates: canary")
    setattr(error, detail, "canary")
    told = translate(error, "postgresql://h/d")
    assert "canary" not in f"{told} {error} {vars(error)}"


@pytest.mark.parametrize(
    ("kind", "severity", "lost"),
    [
        (asyncpg.DiskFullError, "PANIC", True),
        (asyncpg.DiskFullError, "FATAL", True),
        (asyncpg.DiskFullError, "ERROR", False),
        (asyncpg.InvalidPasswordError, "FATAL", False),
    ],
)
def test_the_server_dies_while_it_answers_then_the_outcome_is_not_known(
    kind: type[asyncpg.PostgresError], severity: str, lost: bool
) -> None:
    """A commit may have reached the disk before a failed sync ended the server; a refused
    statement, or login, has written nothing."""
    error = kind("said")
    error.severity_en = severity
    assert is_lost(error) is lost
