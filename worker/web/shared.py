"""An answer that many ask for at once and that takes a while: fetched once, and shared among all who ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

_AGE_MIN_S: Final = 1.0
# so what is fetched takes a tenth of the time at most, however large the database
_AGE_BY_DURATION: Final = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    answer: T
    fresh_until_s: float
    given_until_s: float


class Shared(Generic[T]):
    """
    Fetches for all who ask, one fetch at a time.

    An answer is given to whoever asks within a second of it, or within ten times what fetching it took if that is
    longer. Who asks in as much time after that is given it too, and the next one is fetched meanwhile: nobody waits for
    what many ask for. A failure is told to those who wait for it, and nothing is kept after it: no answer of before
    takes its place.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._fetching: asyncio.Task[T] | None = None
        self._kept: _Kept[T] | None = None

    async def get(self) -> T:
        """Return the answer, or raise what the fetch raised."""
        kept, now_s = self._kept, self._clock()
        if kept is not None and now_s < kept.fresh_until_s:
            return kept.answer
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_and_keep())
            self._fetching.add_done_callback(self._on_done)
        if kept is not None and now_s < kept.given_until_s:
            return kept.answer
        # whoever asked first may go away: the others wait all the same
        return await asyncio.shield(self._fetching)

    async def _fetch_and_keep(self) -> T:
        started_s = self._clock()
        try:
            answer = await self._fetch()
        except BaseException:
            self._kept = None
            raise
        ended_s = self._clock()
        fresh_s = max(_AGE_MIN_S, _AGE_BY_DURATION * (ended_s - started_s))
        self._kept = _Kept(answer, ended_s + fresh_s, ended_s + 2 * fresh_s)
        return answer

    def _on_done(self, task: asyncio.Task[T]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # told to those who wait; asyncio would log it when nobody does
