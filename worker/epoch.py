"""Epochs: what a partition's owner may still do is decided by one object that can end at any moment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Epoch:
    """
    One uninterrupted hold of a partition: from its assignment, or from a seek back, until it is revoked.

    Whatever was read or begun in an epoch counts for nothing once it has ended: check `ended` after every await.
    """

    def __init__(self) -> None:
        self.ended = False
        self._on_end: list[Callable[[], None]] = []

    def end(self) -> bool:
        """End the epoch, call everything registered with `ending`, and return whether there was anything."""
        self.ended = True
        for callback in self._on_end:
            callback()
        return bool(self._on_end)

    @contextmanager
    def ending(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` once if the epoch ends, or has ended, within the block."""
        self._on_end.append(callback)
        try:
            if self.ended:
                callback()
            yield
        finally:
            self._on_end.remove(callback)
