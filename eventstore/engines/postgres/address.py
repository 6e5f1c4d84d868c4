"""The URL of a PostgreSQL store: whose database, which schema, and what its options ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

from ...errors import InvalidEvent
from ...schema.postgres import SCHEMA_NAME

DEFAULT_SCHEMA = "eventstore"
_SYNCHRONOUS = ("NORMAL", "FULL", "EXTRA")
_WEAK = ("fsync", "full_page_writes", "synchronous_commit")
_SWITCH = {"on": True, "off": False}


class Address(msgspec.Struct, frozen=True):
    """A parsed URL.

    `dsn` is for the driver and holds the password; `shown` is for people and does not.
    `pooled`: a transaction pooler stands in between, so no session keeps anything. `isolated`:
    row-level security by tenant is in force. `allowed`: weak settings that were asked for by name.
    """

    dsn: str
    shown: str
    schema: str
    notify: bool
    pooled: bool
    isolated: bool
    migrate: bool
    allowed: frozenset[str]
    synchronous: str


def parse_address(url: str, synchronous: str) -> Address:
    """The address of ``postgresql://user:password@host:port/database?option=...``.

    Options that are not the store's (`sslmode` and the like) go to the driver. Raises
    `InvalidEvent`, which names the option and never the password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidEvent(
            "store URL: the port is no number, or user, password or host hold a character that has"
            " to be written as %XX"
        ) from None
    if parts.fragment:
        raise InvalidEvent("store URL: nothing may stand after a '#'; write it as %23")
    ours: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _OPTIONS:
            ours[name] = value
        else:
            others.append((name, value))
    schema = ours.get("schema", DEFAULT_SCHEMA)
    if not SCHEMA_NAME.fullmatch(schema):
        raise InvalidEvent("store URL: schema has 1 to 63 small letters, digits and _ ")
    if schema.startswith("pg_"):
        raise InvalidEvent("store URL: a schema whose name begins with pg_ is PostgreSQL's own")
    wanted = synchronous.upper()
    if wanted not in _SYNCHRONOUS:
        raise InvalidEvent(f"synchronous: one of {', '.join(_SYNCHRONOUS)}")
    pooled = _switch(ours, "pooler", default=False)
    if pooled and wanted == "NORMAL":
        raise InvalidEvent(
            "synchronous: NORMAL cannot be kept to behind a pooler; set synchronous_commit for the"
            " role, and allow it in the URL"
        )
    shown = _shown(parts.username, host, port, parts.path, schema)
    return Address(
        urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(others), "")),
        shown,
        schema,
        _switch(ours, "notify", default=not pooled),
        pooled,
        _switch(ours, "tenant_isolation", default=False),
        _switch(ours, "migrate", default=False),
        _allowed(ours),
        wanted,
    )


_OPTIONS = ("schema", "notify", "pooler", "tenant_isolation", "migrate", "allow")


def _switch(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = options.get(name)
    if value is None:
        return default
    if value not in _SWITCH:
        raise InvalidEvent(f"store URL: {name} is on or off")
    return _SWITCH[value]


def _allowed(options: Mapping[str, str]) -> frozenset[str]:
    names = [name for name in options.get("allow", "").split(",") if name]
    for name in names:
        if name not in _WEAK:
            raise InvalidEvent(f"store URL: allow takes {', '.join(_WEAK)}, with commas between")
    return frozenset(names)


def _shown(user: str | None, host: str | None, port: int | None, path: str, schema: str) -> str:
    place = f"[{host}]" if host and ":" in host else host or ""
    if user:
        place = f"{user}@{place}"  # as it was written, so still escaped
    if port:
        place += f":{port}"
    suffix = "" if schema == DEFAULT_SCHEMA else f"?schema={quote(schema)}"
    return f"postgresql://{place}{path}{suffix}"


def session_settings(address: Address, busy_timeout_seconds: float) -> dict[str, Any]:
    """What a connection of ours asks the server for when it starts.

    Behind a pooler nothing but the name: a pooler refuses other settings, or gives them to
    sessions of others.
    """
    settings = {"application_name": "eventstore"}
    if address.pooled:
        return settings
    # 0 would mean no bound at all.
    lock_ms = max(1, int(busy_timeout_seconds * 1_000))
    settings |= {
        "lock_timeout": str(lock_ms),
        "statement_timeout": str(lock_ms + STATEMENT_MS),
        "idle_in_transaction_session_timeout": str(lock_ms + STATEMENT_MS),
        # A batch judges by what stands behind the lock that it waited for: nothing else lets it.
        "default_transaction_isolation": ISOLATION,
        # The statements are short and many; compiling them would cost more than it gives.
        "jit": "off",
    }
    if address.synchronous == "NORMAL":
        settings["synchronous_commit"] = "off"
    return settings


ISOLATION = "read committed"
"""In which each statement sees what was committed before it; a role or a database may have another
default, which would let a batch judge by what stood before its wait."""

STATEMENT_MS = 60_000
"""Beyond the wait for a lock: the largest append (64 MiB) takes about 3 s on a slow disk, and a
verification's count over 10 M events about 30 s."""
