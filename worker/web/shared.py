"""An answer that many ask for at once and that takes a while: fetched once, and shared among all who ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

_AGE_MIN_S: Final = 1.0
# so what is fetched takes a tenth of the time at most, however large the database
_AGE_BY_DURATION: Final = 10

T = TypeVar("T")


class Shared(Generic[T]):
    """
    Fetches for all who ask, one fetch at a time.

    An answer is given to whoever asks within a second of it, or within ten times what fetching it took if that is
    longer. A failure is told to those who wait for it, and not kept: never an answer of before in its place.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._fetching: asyncio.Task[T] | None = None
        self._kept: tuple[T, float] | None = None  # and until when

    async def get(self) -> T:
        """Return the answer, or raise what the fetch raised."""
        if self._fetching is None:
            if self._kept is not None and self._clock() < self._kept[1]:
                return self._kept[0]
            self._fetching = asyncio.create_task(self._fetch_and_keep())
            self._fetching.add_done_callback(self._on_done)
        # whoever asked first may go away: the others wait all the same
        return await asyncio.shield(self._fetching)

    async def _fetch_and_keep(self) -> T:
        self._kept = None
        started_s = self._clock()
        answer = await self._fetch()
        ended_s = self._clock()
        self._kept = answer, ended_s + max(_AGE_MIN_S, _AGE_BY_DURATION * (ended_s - started_s))
        return answer

    def _on_done(self, task: asyncio.Task[T]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # told to those who wait; asyncio would log it when nobody does
