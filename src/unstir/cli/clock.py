"""When the command started: budgets in seconds count from there. Imported before anything that takes time."""

import time

BEGAN = time.monotonic()
