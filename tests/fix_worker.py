"""Real worker processes, on a topic, a group and a database of their own for each test."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from http.client import IncompleteRead
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any, NamedTuple

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from fix_kafka import Cluster, committed_offsets, end_offsets, members
from oracle import assert_positions, assert_rejected, assert_statistics_equal_rows, recount
from prometheus_client.parser import text_string_to_metric_families
from publisher import Publisher
from waiting import wait_until

from sandbox.kafka import Kafka
from sandbox.ports import free_port
from sandbox.postgres import Postgres
from schemas import UsageEvent

START_TIMEOUT_S = 60
POST_TIMEOUT_S = 60  # above the 30 s that Kafka is given to take an event
# what faulty_worker.py says before it does it
HIT_PATTERN = r"fault at [a-z-]+: \S+\[(\d+)\] from (\d+) to before (\d+)"


class Fault(NamedTuple):
    """
    What happens to a worker at a step of one of its runs, or is wrong with it; `faulty_worker.py` has the steps.

    Args:
        signal: SIGKILL or SIGSTOP, which it sends to itself.
        run: which of its runs is hit, counted from 1.
        clock_off_s: how far its clock is ahead.
    """

    step: str = "none"
    signal: Signals = SIGKILL
    run: int = 3
    clock_off_s: int = 0


class Hit(NamedTuple):
    """The run that a fault hit: its partition and its offsets, from `start` to before `next_offset`."""

    partition: int
    start: int
    next_offset: int


class WorkerProcess:
    """One `referrals worker`; its log is a file that failures quote."""

    def __init__(self, settings: dict[str, str], log: Path, fault: Fault | None = None) -> None:
        self.port = int(settings["REFERRALS_WEB_PORT"])
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *(("-m", "worker.cli", "worker") if fault is None else faulty_command(fault))],
                env={**os.environ, **settings},
                stdout=output,
                stderr=output,
            )

    @property
    def client_id(self) -> str:
        """How Kafka names this worker."""
        return f"referrals-{socket.gethostname()}-{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def is_frozen(self) -> bool:
        """Whether the process is stopped, as SIGSTOP does."""
        return _process_status(self.pid).get("State", "").startswith("T")

    @property
    def peak_memory_mb(self) -> int:
        """The most memory that the process has had so far; 0 when it is gone."""
        return int(_process_status(self.pid).get("VmHWM", "0 kB").split()[0]) // 1024

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and JSON of a request; status 0 while nobody listens, or when the worker dies in its answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except (OSError, IncompleteRead):
            return 0, None

    def post_event(self, event: UsageEvent) -> tuple[int, dict[str, object]]:
        """Publish an event over HTTP; return status and JSON of the answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/usages", event.value(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=POST_TIMEOUT_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over all of its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as response:
            families = text_string_to_metric_families(response.read().decode())
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def wait_ready(self) -> None:
        """Wait until /readyz says so; a worker that ended says why."""

        def is_ready() -> bool:
            assert self.exit_code is None, f"the worker ended with {self.exit_code}:\n{self.text()}"
            return self.get("/readyz")[0] == 200

        wait_until(f"worker on port {self.port} is ready", is_ready, START_TIMEOUT_S)

    def send(self, received: Signals) -> None:
        self._process.send_signal(received)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for the process to end and return its exit code."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """End the process at once, if it still runs."""
        if self.exit_code is None:
            self._process.kill()
            self._process.wait()

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_blocked(self) -> None:
        """Wait until a run of the worker has waited for a lock in vain; it is tried again."""
        wait_until("a run waits for a lock", lambda: "lock timeout" in self.text())

    def wait_hit(self) -> Hit:
        """Wait until the worker's fault has happened, and return the run that it hit."""
        found = wait_until("the fault happens", lambda: re.search(HIT_PATTERN, self.text()))
        return Hit(*map(int, found.groups()))

    @property
    def duplicates(self) -> int:
        """How many records the worker recognized as repeated, by its log."""
        return sum(map(int, re.findall(r"run stored .*\bduplicates=(\d+)", self.text())))

    @property
    def replays(self) -> int:
        """How many records the worker was about to store when they were stored already, by its log."""
        text = self.text()
        moved = re.findall(r"position moved elsewhere .*\bposition=(\d+) .*\]@(\d+)\.\.(\d+)", text)
        return sum(map(int, re.findall(r"run stored .*\breplayed=(\d+)", text))) + sum(
            max(0, min(int(position), int(last) + 1) - int(start)) for position, start, last in moved
        )


def faulty_command(fault: Fault) -> list[str]:
    return [str(Path(__file__).with_name("faulty_worker.py")), fault.step, *(str(int(number)) for number in fault[1:])]


def _process_status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status; empty for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


class System:
    """A topic, a group and a database, and the workers that share them."""

    def __init__(
        self,
        kafka: Kafka | Cluster,
        admin: AdminClient,
        topic: str,
        partitions: int,
        database_url: str,
        folder: Path,
    ) -> None:
        self.kafka = kafka
        self.admin = admin
        self.topic = topic
        self.partitions = partitions
        self.app_id = f"group-{topic}"
        self.rejected_topic = f"{topic}-rejected"
        self.database_url = database_url
        self.workers: list[WorkerProcess] = []
        self.publisher = Publisher(kafka.bootstrap_servers, topic)
        self._folder = folder
        self._conn: psycopg.Connection | None = None

    @property
    def conn(self) -> psycopg.Connection:
        """A connection for the oracle, opened anew after a server was away."""
        if self._conn is not None:
            # a session whose server ended looks open until it is used
            with contextlib.suppress(psycopg.OperationalError):
                self._conn.execute("select")
                return self._conn
            self._conn.close()
        self._conn = psycopg.connect(self.database_url, autocommit=True)
        return self._conn

    def settings(self, **changes: object) -> dict[str, str]:
        """Return a worker's environment; changes are settings by their names in lower case."""
        settings = {
            "bootstrap_servers": self.kafka.bootstrap_servers,
            "database_url": self.database_url,
            "app_id": self.app_id,
            "usages_topic": self.topic,
            "rejected_topic": self.rejected_topic,
            "partitions": self.partitions,
            "web_port": free_port(),
            "data_dir": self._folder / f"data-{uuid.uuid4().hex[:8]}",
            "session_timeout_s": 6,
            "start_timeout_s": 30,
            "log_level": "debug",
            **changes,
        }
        return {f"REFERRALS_{name.upper()}": str(value) for name, value in settings.items()}

    def start_worker(self, fault: Fault | None = None, **changes: object) -> WorkerProcess:
        """Start a worker without waiting for it."""
        worker = WorkerProcess(self.settings(**changes), self._folder / f"worker-{len(self.workers)}.log", fault)
        self.workers.append(worker)
        return worker

    def running(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.exit_code is None]

    def _members(self) -> dict[str, set[int]]:
        # not self.admin: a client that has asked a coordinator which was then killed gets no answer from the next one
        return members(AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers}), self.app_id)

    def held_by(self, worker: WorkerProcess) -> set[int]:
        """Return the partitions that Kafka has assigned to a worker; empty while the group rebalances."""
        return self._members().get(worker.client_id, set())

    def wait_shared(self, *workers: WorkerProcess) -> None:
        """Wait until these workers, and no others, share all partitions and are ready."""

        def is_shared() -> bool:
            held = self._members()
            return (
                held.keys() == {worker.client_id for worker in workers}
                and sum(map(len, held.values())) == self.partitions
            )

        wait_until("the partitions are shared", is_shared)
        for worker in workers:
            worker.wait_ready()

    def ends(self) -> dict[int, int]:
        return end_offsets(self.kafka, self.topic, self.partitions)

    def positions(self) -> dict[int, int]:
        """Return the stored position of each partition, 0 for one that was never stored."""
        stored = dict(self.conn.execute("select partition, next_offset from referral_positions").fetchall())
        return {partition: stored.get(partition, 0) for partition in range(self.partitions)}

    @contextlib.contextmanager
    def positions_locked(self) -> Iterator[None]:
        """Hold all stored positions, so that no run of theirs is stored within the block."""
        with psycopg.connect(self.database_url) as blocker:
            blocker.execute("select from referral_positions for update")
            yield

    def committed(self) -> dict[int, int]:
        """Return the offset of each partition that the group has committed, 0 for one that it has not."""
        return committed_offsets(self.kafka, self.app_id, self.topic, self.partitions)

    def row_count(self) -> int:
        return self.conn.execute("select count(*) from referral_usages").fetchone()[0]

    def wait_drained(self, timeout_s: float = 120) -> None:
        """Wait until every position has reached the end of its partition."""
        wait_until("all records are stored", lambda: self.positions() == self.ends(), timeout_s)

    def assert_exact(self) -> None:
        """
        Rows are the acknowledged usages and rejects the records that were none.

        Positions, statistics and every worker's answers agree with them.
        """
        self.publisher.assert_stored(self.conn)
        assert_rejected(self.conn, self.topic, self.publisher.rejected)
        assert_positions(self.conn, self.ends())
        assert_statistics_equal_rows(self.conn)
        counted = recount(self.conn)
        sources: dict[str, set[str]] = {str(code): set() for code in counted}
        for worker in self.running():
            for code, expected in counted.items():
                status, answer = worker.get(f"/api/v1/codes/{code}/stats")
                assert status == 200, answer
                sources[answer["code_uuid"]].add(answer.pop("source"))
                assert {**answer, "last_used": datetime.fromisoformat(answer["last_used"])} == {
                    "code_uuid": str(code),
                    "total_uses": expected.total_uses,
                    "unique_users": expected.unique_users,
                    "last_used": expected.last_used,
                    "recent_users": [str(user) for user in expected.recent_users],
                }
        if self.running():
            untabled = [code for code, seen in sources.items() if "table" not in seen]
            assert not untabled, f"no worker's table holds {untabled}"

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.publisher.close()
        if self._conn is not None:
            self._conn.close()


NewSystem = Callable[..., System]


@pytest.fixture
def new_system(
    kafka: Kafka, admin: AdminClient, new_topic: Callable[[int], str], database_url: str, tmp_path: Path
) -> Iterator[NewSystem]:
    """Make a system of so many partitions; its workers end with the test."""
    made: list[System] = []

    def make(partitions: int = 4, url: str = database_url) -> System:
        system = System(kafka, admin, new_topic(partitions), partitions, url, tmp_path)
        made.append(system)
        return system

    yield make
    for system in made:
        system.close()


@pytest.fixture
def system(new_system: NewSystem) -> System:
    """A system of four partitions."""
    return new_system()


@pytest.fixture
def own_system(new_system: NewSystem, own_postgres: Postgres, migrated: Callable[[Postgres], str]) -> System:
    """A system of four partitions on a server of its own, which may be stopped."""
    return new_system(url=migrated(own_postgres))


@pytest.fixture
def new_kafka_system(tmp_path: Path, database_url: str) -> Iterator[NewSystem]:
    """Make a system on a broker of its own, which may be killed."""
    broker = Kafka(tmp_path / "kafka")
    made: list[System] = []

    def make(partitions: int = 4) -> System:
        broker.start()
        client = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        client.create_topics([NewTopic("usages", partitions, 1)])["usages"].result(20)
        made.append(System(broker, client, "usages", partitions, database_url, tmp_path))
        return made[0]

    try:
        yield make
    finally:
        for system in made:
            system.close()
        broker.stop()
