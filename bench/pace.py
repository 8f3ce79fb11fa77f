"""A steady rate: what comes at one is due moment by moment, whatever was late before it."""

import time
from typing import Final

# sleeping for less costs more than it evens out
TICK_S: Final = 0.001


def wait_until(due_s: float) -> None:
    """Sleep until a moment of `time.perf_counter`; return at once when it has passed."""
    early_s = due_s - time.perf_counter()
    if early_s > 0:
        time.sleep(max(early_s, TICK_S))
