"""Roles with the rights that the documentation says, for tests of who may do what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "run-on-postgresql.md"


def documented(heading: str) -> str:
    """The SQL below a heading of the page."""
    part = PAGE.read_text(encoding="utf-8").split(f"## {heading}", 1)[1]
    found = re.search(r"```sql\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1]


async def role_with_rights(raw: Any, url: str, name: str) -> str:
    """Makes a role with the documented grants; the URL with which it logs in."""
    await raw.execute(f"DROP ROLE IF EXISTS {name}")
    await raw.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'canary-password'")
    granted = documented("A role that can append and read").replace("TO app", f"TO {name}")
    await raw.execute(granted)
    return re.sub(r"//.*@", f"//{name}:canary-password@", url)


async def drop_role(raw: Any, name: str) -> None:
    """Removes the role with all its rights."""
    await raw.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
