"""What `import eventstore` brings along."""

from __future__ import annotations

import subprocess
import sys


def test_the_rooms_are_imported_then_pydantic_is_not() -> None:
    """Who declares no pydantic model does not wait for its import, a third of the whole."""
    asked = "import sys, eventstore, reducers; print('pydantic' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.strip() == "False"
