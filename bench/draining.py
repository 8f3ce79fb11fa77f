"""How long readers wait while a worker drains a backlog: its runs must not keep the web from answering."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Final

import psycopg

from bench.events import Backlog, make_events
from bench.pace import wait_until
from bench.readers import READER_COUNT, Client, Waited
from bench.sql import fetch_row
from sandbox.errors import ProcessTimeoutError
from sandbox.referrals import Worker

API: Final = "/api/v1"
ASKED_PER_S: Final = 20
LOOK_AGAIN_S: Final = 0.05
SLOWEST_EVENTS_PER_S: Final = 2_000


@dataclass(frozen=True, slots=True)
class Draining:
    """
    What readers saw of a drain.

    Args:
        events_per_s: what was stored in each second meanwhile.
        drain_s: from the first commit to the last one.
        answer_count: answers that came in this time.
        waited: by kind of answer, then for the answers of the API together.
    """

    events_per_s: float
    drain_s: float
    answer_count: int
    waited: list[Waited]


def measure_draining(worker: Worker, backlog: Backlog, conn: psycopg.Connection) -> Draining:
    """
    Start a worker over a full topic and let readers ask it, at a steady rate, until everything is stored.

    Raises:
        SandboxError: the worker failed or did not come to the end, or an answer was wrong.
    """
    worker.start()
    is_drained = threading.Event()
    questions = _questions(next(make_events(1)).code_uuid)
    with ThreadPoolExecutor(READER_COUNT) as readers:
        client = Client(worker.port)
        begin_s = time.perf_counter()
        reading = [
            readers.submit(_read, client, questions, first, begin_s, is_drained) for first in range(READER_COUNT)
        ]
        try:
            _wait_until_stored(worker, backlog, conn)
        finally:
            is_drained.set()
    waits: dict[str, list[float]] = {answer: [] for answer, _path in questions}
    for each in reading:
        for answer, wait_ms in each.result():
            waits[answer].append(wait_ms)
    of_api = [wait_ms for answer, path in questions if path.startswith(API) for wait_ms in waits[answer]]
    _transaction_count, later_row_count, drain_s, _ended_at_s = fetch_row(conn, "commits", since=0)
    return Draining(
        later_row_count / drain_s,
        drain_s,
        sum(map(len, waits.values())),
        [*(Waited.of(*each) for each in waits.items()), Waited.of("all three of the API", of_api)],
    )


def _questions(code_uuid: str) -> list[tuple[str, str]]:
    return [
        ("statistics of a code", f"{API}/codes/{code_uuid}/stats"),
        ("its history", f"{API}/codes/{code_uuid}/usages"),
        ("overview", f"{API}/overview"),
        ("page: overview", "/"),
        ("page: the code", f"/codes/{code_uuid}"),
    ]


def _read(
    client: Client, questions: Sequence[tuple[str, str]], first: int, begin_s: float, is_over: threading.Event
) -> list[tuple[str, float]]:
    """
    Ask one reader's share of the questions, which are due one after another, in turn.

    A wait begins when its question is due: what keeps a reader from asking in time is part of it.
    """
    waits = []
    for number in count(first, READER_COUNT):
        due_s = begin_s + number / ASKED_PER_S
        wait_until(due_s)
        answer, path = questions[number % len(questions)]
        client.get(path)
        if is_over.is_set():
            break
        waits.append((answer, (time.perf_counter() - due_s) * 1000))
    return waits


def _wait_until_stored(worker: Worker, backlog: Backlog, conn: psycopg.Connection) -> None:
    deadline = time.monotonic() + backlog.event_count / SLOWEST_EVENTS_PER_S
    while fetch_row(conn, "progress", last_ids=backlog.last_ids)[1] < len(backlog.last_ids):
        worker.check()
        if time.monotonic() > deadline:
            raise ProcessTimeoutError(f"{worker.name} has not stored the backlog in time", "see its log")
        time.sleep(LOOK_AGAIN_S)
