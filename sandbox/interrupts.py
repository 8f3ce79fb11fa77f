"""Ctrl-C and its kin: the first one asks for an orderly stop, a later one for the end of everything."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from sandbox.process import kill_all

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# `make` hands on a SIGTERM that reaches us directly as well when it is sent to the whole group
SAME_SIGNAL_S: Final = 1.0


class Interrupts:
    """Owns the signal handlers of the demo, from its construction to its end."""

    def __init__(self) -> None:
        self._first_at: float | None = None
        self._cancel: Callable[[], object] | None = None
        for number in SIGNALS:
            signal.signal(number, self._receive)

    @contextmanager
    def calling(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Let the first signal call `cancel` instead of raising KeyboardInterrupt, which would tear an event loop."""
        self._cancel = cancel
        try:
            yield
        finally:
            self._cancel = None

    def begin_stop(self) -> None:
        """From now on no signal raises: what is stopping is not interrupted, only hurried."""
        self._first_at = self._first_at or time.monotonic()

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        if self._first_at is None:
            self._first_at = time.monotonic()
            if self._cancel is None:
                raise KeyboardInterrupt
            self._cancel()
        elif time.monotonic() - self._first_at > SAME_SIGNAL_S:
            kill_all()
