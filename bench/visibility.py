"""
How soon an event is seen: from the producer's acknowledgement until the worker's statistics of its code count it.

Events are published at a steady rate. Some of them, drawn by chance, are of a code that nobody used before: the worker
is asked for that code, again and again over a connection that stays open, until it answers with one use.
"""

import json
import queue
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from bench.events import make_events
from bench.publishing import Draft, OnAcknowledged, Publisher
from bench.readers import AnswerError, Client, Waited
from sandbox.errors import SandboxError

# what is asked about at once is few, and what asking costs the worker is small beside the events
SAMPLES_PER_S: Final = 20
ASK_PAUSE_S: Final = 0.01
# connections, filters and caches of the rate before it are no part of a rate
WARM_UP_S: Final = 2
SEEN_DEADLINE_S: Final = 30.0


class NotSeenError(SandboxError):
    """An acknowledged event did not show in the statistics."""


@dataclass(frozen=True, slots=True)
class Visibility:
    """
    How soon events were seen at one rate.

    Args:
        per_second: events published in each second.
        event_count: events published, those of warming up among them.
        sample_count: events asked about.
        waited: from the acknowledgement to the answer that counts the event.
        asked_every: between the last question whose answer did not count it and that answer: what the figures are
            too high by, at most.
    """

    per_second: int
    event_count: int
    sample_count: int
    waited: Waited
    asked_every: Waited


@dataclass(slots=True)
class _Sample:
    code_uuid: str
    acknowledged_s: float
    unseen_s: float = field(init=False)  # when it was asked about last in vain

    def __post_init__(self) -> None:
        self.unseen_s = self.acknowledged_s


class _Sight(NamedTuple):
    waited_ms: float
    asked_every_ms: float


class _Samples:
    """Events that are asked about, from their acknowledgement on."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._acknowledged: queue.SimpleQueue[_Sample] = queue.SimpleQueue()
        self.is_complete = threading.Event()

    def expect(self, code_uuid: str) -> OnAcknowledged:
        """Return what is to be called when the first event of a code is acknowledged, to begin asking about it."""
        return lambda _message: self._acknowledged.put(_Sample(code_uuid, time.perf_counter()))

    def watch(self) -> list[_Sight]:
        """Ask until all are seen; to be run in a thread of its own."""
        sights: list[_Sight] = []
        unseen: list[_Sample] = []
        while unseen or not self.is_complete.is_set() or not self._acknowledged.empty():
            with suppress(queue.Empty):
                unseen.append(self._acknowledged.get(timeout=ASK_PAUSE_S))
            asked, unseen = unseen, []
            for sample in asked:
                sight = self._look(sample)
                if sight is None:
                    unseen.append(sample)
                else:
                    sights.append(sight)
        return sights

    def _look(self, sample: _Sample) -> _Sight | None:
        asked_s = time.perf_counter()
        stats = json.loads(self._client.get(f"/api/v1/codes/{sample.code_uuid}/stats"))
        answered_s = time.perf_counter()
        if stats["source"] != "table":
            raise AnswerError(f"the worker does not hold {sample.code_uuid}", "let no other worker run beside it")
        if stats["total_uses"]:
            return _Sight((answered_s - sample.acknowledged_s) * 1000, (answered_s - sample.unseen_s) * 1000)
        if asked_s - sample.acknowledged_s > SEEN_DEADLINE_S:
            what = f"an event was acknowledged {SEEN_DEADLINE_S:.0f} s ago and is not in the statistics"
            raise NotSeenError(what, "see the worker's log")
        sample.unseen_s = asked_s
        return None


def measure_visibility(
    client: Client, bootstrap_servers: str, topic: str, *, per_second: int, duration_s: int
) -> Visibility:
    """
    Publish at a rate for a while and return how soon events were seen.

    Args:
        client: of a worker that holds all partitions and has nothing else to do.
    Raises:
        SandboxError: events were not acknowledged or not seen, or an answer was wrong.
    """
    publisher = Publisher(bootstrap_servers, topic)
    samples = _Samples(client)
    # made beforehand: making them takes more time than publishing them
    warm_up_count = WARM_UP_S * per_second
    drafts = list(_drafts(warm_up_count + duration_s * per_second, per_second, samples))
    is_published = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        serving = threads.submit(_serve, publisher, is_published)
        try:
            publisher.publish_evenly((Draft(key, value) for key, value, _ in drafts[:warm_up_count]), per_second)
            watching = threads.submit(samples.watch)
            publisher.publish_evenly(drafts[warm_up_count:], per_second)
            publisher.finish()
        finally:
            is_published.set()
            wait([serving])  # the last acknowledgement may be on its way in there
            samples.is_complete.set()
        sights = watching.result()
    answer = f"{per_second:,} events/s"
    return Visibility(
        per_second,
        len(drafts),
        len(sights),
        Waited.of(answer, [sight.waited_ms for sight in sights]),
        Waited.of(answer, [sight.asked_every_ms for sight in sights]),
    )


def _drafts(event_count: int, per_second: int, samples: _Samples) -> Iterator[Draft]:
    chance = random.Random(per_second)
    for event in make_events(event_count, seed=per_second):
        if chance.random() < SAMPLES_PER_S / per_second:
            code_uuid = str(UUID(int=chance.getrandbits(128), version=4))
            sampled = event.model_copy(update={"code_uuid": code_uuid})
            yield Draft(sampled.key(), sampled.value(), samples.expect(code_uuid))
        else:
            yield Draft(event.key(), event.value())


def _serve(publisher: Publisher, is_published: threading.Event) -> None:
    while not is_published.is_set():
        publisher.serve(0.1)
