"""Waiting on a condition with a deadline; never on time alone."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_LOOK_AGAIN_S = 0.02


def wait_until(what: str, condition: Callable[[], T], timeout_s: float = 60) -> T:
    """Return what `condition` returns once it is true; fail with `what`, and its last value, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:g} s still not: {what}; last seen: {value!r}")
        time.sleep(_LOOK_AGAIN_S)
    return value
