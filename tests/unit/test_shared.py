"""One answer for all who ask at once."""

import asyncio

import pytest

from worker.web.shared import Shared


class Source:
    """Answers with the number of the fetch, when the test lets it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.fetches = 0
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None
        self.shared = Shared(self.fetch, lambda: self.now_s)

    async def fetch(self) -> int:
        self.fetches += 1
        self.is_asked.set()
        await self.may_answer.wait()
        if self.error:
            raise self.error
        return self.fetches


async def test_those_who_ask_at_once_share_one_fetch() -> None:
    """Requests that arrive while a fetch is under way wait for that one, even when the first of them goes away."""
    source = Source()
    asking = [asyncio.create_task(source.shared.get()) for _ in range(20)]
    await source.is_asked.wait()
    asking[0].cancel()
    source.may_answer.set()
    assert await asyncio.gather(*asking[1:]) == [1] * 19
    assert source.fetches == 1


@pytest.mark.parametrize(("took_s", "fresh_s"), [(0.0, 1.0), (0.3, 3.0)])
async def test_answer_is_fresh_for_a_second_or_ten_times_its_cost(took_s: float, fresh_s: float) -> None:
    """The next fetch starts no earlier than a second, or ten times the duration, after the last."""
    source = Source()
    asking = asyncio.create_task(source.shared.get())
    await source.is_asked.wait()
    source.now_s = took_s
    source.may_answer.set()
    assert await asking == 1
    source.now_s = took_s + fresh_s - 0.01
    assert await source.shared.get() == 1
    await asyncio.sleep(0)
    assert source.fetches == 1
    source.now_s = took_s + 2 * fresh_s
    assert await source.shared.get() == 2


async def test_answer_is_renewed_while_it_is_still_given() -> None:
    """Once an answer is not fresh any more, whoever asks gets it at once, and the next one is fetched meanwhile."""
    source = Source()
    source.may_answer.set()
    assert await source.shared.get() == 1
    source.may_answer.clear()
    source.is_asked.clear()
    source.now_s = 1.5
    assert await source.shared.get() == 1
    await source.is_asked.wait()
    assert await source.shared.get() == 1
    assert source.fetches == 2
    source.may_answer.set()
    source.now_s = 2.0
    assert await source.shared.get() == 2


async def test_answer_whose_renewal_failed_is_given_no_more() -> None:
    """When the next fetch fails, those who ask afterwards are told so, not given what was true before."""
    source = Source()
    source.may_answer.set()
    assert await source.shared.get() == 1
    source.now_s = 1.5
    source.error = ConnectionError()
    assert await source.shared.get() == 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.fetches == 2
    with pytest.raises(ConnectionError):
        await source.shared.get()


async def test_failure_is_told_and_not_kept() -> None:
    """A failed fetch fails those who wait for it; no older answer takes its place, and the next request tries again."""
    source = Source()
    source.may_answer.set()
    assert await source.shared.get() == 1
    source.now_s = 2.0
    source.error = ConnectionError()
    with pytest.raises(ConnectionError):
        await source.shared.get()
    with pytest.raises(ConnectionError):
        await source.shared.get()
    source.error = None
    assert await source.shared.get() == 4
