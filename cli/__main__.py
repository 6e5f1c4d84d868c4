"""``python -m cli`` is the command `eventstore`."""

import sys

from .app import main

sys.exit(main())
