"""`make crash`: every fault on every engine, with its seed; ends with 1 when a promise is broken.

`python -m tests.crash [--seed N] [--only FAULT]... [--engine ENGINE] [--quick] [--prove]`.
`--quick` makes a tenth of the trials. `--prove` seeds defects instead, and ends with 1 when one
of them is not found.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from .running import FAULTS, Plan, execute


def main() -> int:
    """Parses what is asked, runs it, and tells whether all held."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", action="append", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--engine", choices=["sqlite", "postgres"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--prove", action="store_true")
    asked = parser.parse_args()
    faults = [fault for fault in FAULTS if not asked.only or fault.name in asked.only]
    engines = [asked.engine] if asked.engine else ["sqlite", "postgres"]
    plan = Plan(asked.seed, faults, engines, 0.1 if asked.quick else 1.0, asked.prove)
    return asyncio.run(execute(plan))


if __name__ == "__main__":
    sys.exit(main())
