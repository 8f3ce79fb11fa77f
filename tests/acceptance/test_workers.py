"""Several workers as people and programs see them: all of them on each, and right answers while they come and go."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fix_worker import System, WorkerProcess
from oracle import recount
from publisher import make_events
from waiting import wait_until

from worker.exit_codes import EXIT_FAILURE

CODES = 200
LATE_S = 5.0


def url(worker: WorkerProcess) -> str:
    return f"http://127.0.0.1:{worker.port}"


def shown_by(worker: WorkerProcess) -> dict[str, Any]:
    """Return the workers that a worker shows, by their URLs."""
    status, answer = worker.get("/api/v1/workers")
    assert status == 200, answer
    return {item["url"]: item for item in answer["items"]}


def show_each_other(system: System, *workers: WorkerProcess) -> bool:
    """Whether each worker shows these and no others, with all partitions, each once, and nothing waiting."""
    for worker in workers:
        shown = shown_by(worker)
        parts = [part for item in shown.values() for part in item["partitions"]]
        if shown.keys() != {url(other) for other in workers}:
            return False
        if sorted(part["partition"] for part in parts) != list(range(system.partitions)):
            return False
        if any(part["lag"] != 0 or part["position"] != system.positions()[part["partition"]] for part in parts):
            return False
    return True


def test_every_worker_shows_all_workers_and_everything_stored(new_system: Callable[..., System]) -> None:
    """Three workers share all partitions on each one's page, and a killed one leaves it to those who take over."""
    system = new_system(6)
    workers = [system.start_worker() for _ in range(3)]
    system.wait_shared(*workers)
    system.publisher.publish(make_events(5_000, codes=100, users=200, repeated=0.01))
    system.publisher.publish_raw(b"not json", partition=2)
    system.wait_drained()
    wait_until("the workers show each other", lambda: show_each_other(system, *workers))
    assert sum(worker.metric("referrals_usages_stored_total") for worker in workers) == system.row_count()
    assert sum(worker.metric("referrals_records_rejected_total") for worker in workers) == 1
    assert sum(worker.metric("referrals_lag") for worker in workers) == 0
    for worker in workers:
        assert len(shown_by(worker)[url(worker)]["partitions"]) == 2
        overview = worker.get("/api/v1/overview")[1]
        counted = recount(system.conn)
        assert overview["total_uses"] == system.row_count()
        assert overview["codes"] == len(counted)
        assert overview["first_uses"] == sum(each.unique_users for each in counted.values())
        assert overview["rejected"] == 1
        assert overview["lag"] == 0
        assert overview["partitions"] == {"total": 6, "live": 6}
        assert overview["workers"] == 3
        now = system.conn.execute("select now()").fetchone()[0]
        assert (now - datetime.fromisoformat(overview["stored_up_to"])).total_seconds() < 30
        best = sorted(counted.items(), key=lambda item: (-item[1].total_uses, item[0]))[:8]
        assert [(code["code_uuid"], code["total_uses"]) for code in overview["top_codes"]] == [
            (str(code), each.total_uses) for code, each in best
        ]

    workers[0].send(signal.SIGKILL)
    wait_until("the killed worker is shown no more", lambda: show_each_other(system, *workers[1:]))
    workers[1].send(signal.SIGTERM)
    assert workers[1].wait() == 0
    assert url(workers[1]) not in {row[0] for row in system.conn.execute("select url from referral_workers")}
    wait_until("one worker is left", lambda: show_each_other(system, workers[2]))


def test_second_worker_under_a_url_ends_with_the_remedy(system: System) -> None:
    """Of two workers with one URL the second ends and says what to set; the first goes on."""
    first = system.start_worker(web_url="http://same")
    first.wait_ready()
    wait_until("the first is announced", lambda: "http://same" in shown_by(first))
    second = system.start_worker(web_url="http://same")
    assert second.wait() == EXIT_FAILURE
    assert "another worker is at work as http://same" in second.text()
    assert "REFERRALS_WEB_URL" in second.text()
    assert "Traceback" not in second.text()
    system.wait_shared(first)
    system.publisher.publish(make_events(500, codes=10, users=10))
    system.wait_drained()
    system.assert_exact()
    assert shown_by(first)["http://same"]["partitions"]


def test_killed_worker_comes_back_under_its_url(system: System) -> None:
    """A worker that is started again right after it was killed works at once, and takes its row over."""
    first = system.start_worker()
    first.wait_ready()
    started_at = wait_until("the first is announced", lambda: shown_by(first).get(url(first)))["started_at"]
    first.kill()
    second = system.start_worker(web_port=first.port)
    system.publisher.publish(make_events(500, codes=10, users=10))
    second.wait_ready()
    system.wait_drained()
    wait_until("its row is its own", lambda: shown_by(second)[url(first)]["started_at"] > started_at)
    assert second.exit_code is None
    system.assert_exact()


class Watch:
    """
    Asks workers for every code's statistics, without a pause, from a thread for each worker.

    Args:
        check: returns what is wrong with an answer; gets the code, the answer, and when it was asked for.
    """

    def __init__(self, codes: list[str], check: Callable[[str, dict[str, Any], float], str | None]) -> None:
        self.wrong: list[str] = []
        self.answered: dict[int, int] = {}
        self.sources: set[str] = set()
        self._codes = codes
        self._check = check
        self._is_over = threading.Event()
        self._serving: set[int] = set()
        self._threads: list[threading.Thread] = []

    def add(self, worker: WorkerProcess) -> None:
        """Ask this worker from now on, before it listens; `begin_serving` says from when on it must answer."""
        self.answered[worker.port] = 0
        thread = threading.Thread(target=self._ask, args=(worker,))
        thread.start()
        self._threads.append(thread)

    def begin_serving(self, worker: WorkerProcess) -> None:
        self._serving.add(worker.port)

    def end_serving(self, worker: WorkerProcess) -> None:
        self._serving.discard(worker.port)

    def wait_rounds(self, worker: WorkerProcess, rounds: int = 2) -> None:
        """Wait until the worker has been asked for every code so many times more."""
        wanted = self.answered[worker.port] + rounds * len(self._codes)
        wait_until("every code is asked for", lambda: self.wrong or self.answered[worker.port] >= wanted)

    def close(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, worker: WorkerProcess) -> None:
        while not self._is_over.is_set():
            for code in self._codes:
                had_to_answer = worker.port in self._serving
                asked_s = time.monotonic()
                status, answer = worker.get(f"/api/v1/codes/{code}/stats")
                if status == 0:
                    if had_to_answer and worker.port in self._serving:
                        self.wrong.append(f"port {worker.port} does not answer")
                    # nobody listens there: others may have the processor
                    self._is_over.wait(0.05)
                elif status != 200:
                    self.wrong.append(f"port {worker.port} answers {status} {answer}")
                else:
                    self.answered[worker.port] += 1
                    self.sources.add(answer["source"])
                    if (what := self._check(code, answer, asked_s)) is not None:
                        self.wrong.append(f"port {worker.port}: {what}")
                if self._is_over.is_set():
                    return


@pytest.fixture
def new_watch() -> Iterator[Callable[..., Watch]]:
    """Make watches that end with the test."""
    made: list[Watch] = []

    def make(*args: Any) -> Watch:
        made.append(Watch(*args))
        return made[-1]

    yield make
    for watch in made:
        watch.close()


def come_and_go(system: System, watch: Watch) -> None:
    """From one worker to three and back to one, one of them killed, all of them asked all the time."""
    first, *others = [system.start_worker()]
    watch.add(first)
    first.wait_ready()
    watch.begin_serving(first)
    watch.wait_rounds(first)
    for _ in range(2):
        other = system.start_worker()
        watch.add(other)
        other.wait_ready()
        watch.begin_serving(other)
        others.append(other)
    system.wait_shared(first, *others)
    for worker in (first, *others):
        watch.wait_rounds(worker)
    for other, how in zip(others, (signal.SIGTERM, signal.SIGKILL), strict=True):
        watch.end_serving(other)
        other.send(how)
        other.wait()
        watch.wait_rounds(first, 1)
    system.wait_shared(first)
    watch.wait_rounds(first)
    watch.close()


def test_answers_are_right_at_every_moment_while_workers_come_and_go(
    new_system: Callable[..., System], new_watch: Callable[..., Watch]
) -> None:
    """With publishing stopped, every worker gives SQL's answer for each of 200 codes all through the rebalances."""
    system = new_system(6)
    filling = system.start_worker()
    filling.wait_ready()
    system.publisher.publish(make_events(10_000, codes=CODES, users=500, repeated=0.01))
    system.wait_drained()
    filling.send(signal.SIGTERM)
    filling.wait()
    expected = {
        str(code): {
            "total_uses": each.total_uses,
            "unique_users": each.unique_users,
            "last_used": each.last_used,
            "recent_users": [str(user) for user in each.recent_users],
        }
        for code, each in recount(system.conn).items()
    }
    assert len(expected) >= CODES * 0.95, "too few codes were drawn"

    def check(code: str, answer: dict[str, Any], _asked_s: float) -> str | None:
        said = {name: answer[name] for name in expected[code]}
        said["last_used"] = said["last_used"] and datetime.fromisoformat(said["last_used"])
        return None if said == expected[code] else f"{code} is {said}, not {expected[code]}"

    watch = new_watch(list(expected), check)
    come_and_go(system, watch)
    assert watch.wrong == []
    assert watch.sources == {"table", "database"}


def test_answers_are_never_late_while_workers_come_and_go_under_load(
    new_system: Callable[..., System], new_watch: Callable[..., Watch]
) -> None:
    """While events come in, no worker ever answers with less than SQL said five seconds before."""
    system = new_system(6)
    events = make_events(4_000, codes=CODES, users=2_000)
    said: list[tuple[float, dict[str, int]]] = []
    is_over = threading.Event()

    def note_what_sql_says() -> None:
        with psycopg.connect(system.database_url, autocommit=True) as conn:
            while not is_over.wait(0.5):
                rows = conn.execute("select code_uuid::text, count(*) from referral_usages group by 1").fetchall()
                said.append((time.monotonic(), dict(rows)))

    def publish() -> None:
        chance = random.Random(1)
        # for as long as it takes: a load that ends before the last worker has gone would prove nothing
        while not is_over.wait(0.2):
            some = chance.sample(events, 200)
            system.publisher.publish([event.model_copy(update={"event_id": str(uuid4())}) for event in some])

    def check(code: str, answer: dict[str, Any], asked_s: float) -> str | None:
        before = [counts for at_s, counts in said if at_s <= asked_s - LATE_S]
        least = before[-1].get(code, 0) if before else 0
        return None if answer["total_uses"] >= least else f"{code} is {answer['total_uses']}, but was {least} before"

    watch = new_watch(sorted({event.code_uuid for event in events}), check)
    threads = [threading.Thread(target=target) for target in (note_what_sql_says, publish)]
    for thread in threads:
        thread.start()
    try:
        come_and_go(system, watch)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert watch.wrong == []
    assert said[-1][0] - said[0][0] > LATE_S
    system.wait_drained()
    system.assert_exact()
