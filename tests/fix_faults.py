"""
The fault bench: a load, a fault in the middle of it, and what must be true at the end.

A case samples the group's committed offsets all the time, insists that records flowed, and leaves a line in the report
that ends the run; `--fault-report FILE` writes the report as JSON as well. The line is part of the test's result, so it
reaches the report from whichever process ran the test.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from fix_worker import System
from publisher import make_load
from waiting import wait_until

from schemas import UsageEvent

RECORDS_MIN = 1_000  # stored between the fault and the end, or the case proves nothing
FLOWING_MIN = 300  # stored before the fault
LOAD_AFTER = 3_000  # published after the fault at least
LOAD_MAX_S = 300  # as long as a test may take
RECOVERY_GOAL_S = 30
MEMORY_GOAL_MB = 400

_SAMPLE_EVERY_S = 0.1
_ANSWER_TIMEOUT_S = 2
_ROW_PROPERTY = "fault"


@dataclass(frozen=True)
class Row:
    """A case's line in the report."""

    case: str
    records: int
    replays: int
    duplicates: int
    rejects: int
    recovery_s: float
    memory_mb: int


class Sampler(threading.Thread):
    """
    Reads offsets and positions while a case runs.

    The group's committed offset is read first and the position after it. Positions only rise, so an offset above the
    position read later was above it when it was committed: a finding is never a false alarm. What is missed is an
    offset that its position overtakes within the few milliseconds between the two answers. A database that is put back
    takes its positions back as well, which `put_back` must tell.
    """

    def __init__(self, system: System) -> None:
        super().__init__(name="sampler", daemon=True)
        self.positions: dict[int, int] = dict.fromkeys(range(system.partitions), 0)
        self.count = 0
        self.findings: list[str] = []
        self.memory_mb = 0
        self.caught_up_at: float | None = None
        self._target: dict[int, int] | None = None
        self._committed_before = dict.fromkeys(range(system.partitions), 0)
        self._system = system
        self._ended = threading.Event()

    def expect(self, target: dict[int, int]) -> None:
        """Note when all positions have reached these offsets."""
        self._target = None
        self.caught_up_at = None
        self._target = target

    def put_back(self, ends: dict[int, int]) -> None:
        """Take positions that rise anew: what was committed up to these offsets was right once."""
        self._committed_before = ends
        self.positions = dict.fromkeys(ends, 0)

    def stop(self) -> None:
        self._ended.set()
        self.join(30)
        assert not self.is_alive(), "the sampler did not end"

    def run(self) -> None:
        system = self._system
        # never subscribes, so it is no member of the group
        consumer = Consumer(
            {"bootstrap.servers": system.kafka.bootstrap_servers, "group.id": system.app_id, "log_level": 1}
        )
        conn: psycopg.Connection | None = None
        try:
            while not self._ended.wait(_SAMPLE_EVERY_S):
                self.memory_mb = max(self.memory_mb, *(worker.peak_memory_mb for worker in system.workers), 0)
                try:
                    conn = conn or psycopg.connect(
                        system.database_url, autocommit=True, connect_timeout=_ANSWER_TIMEOUT_S
                    )
                    committed = self._committed(consumer)
                    stored = dict(conn.execute("select partition, next_offset from referral_positions").fetchall())
                except psycopg.Error:
                    if conn is not None:
                        conn.close()
                        conn = None
                    continue
                self._note(committed, stored)
        finally:
            consumer.close()
            if conn is not None:
                conn.close()

    def _committed(self, consumer: Consumer) -> dict[int, int] | None:
        """Return the committed offsets; None while no broker answers."""
        partitions = [TopicPartition(self._system.topic, partition) for partition in range(self._system.partitions)]
        try:
            offsets = consumer.committed(partitions, timeout=_ANSWER_TIMEOUT_S)
        except KafkaException:
            return None
        return {tp.partition: tp.offset for tp in offsets if tp.error is None and tp.offset >= 0}

    def _note(self, committed: dict[int, int] | None, stored: dict[int, int]) -> None:
        self.positions |= stored
        if committed is not None:
            self.count += 1
            self.findings += [
                f"[{partition}]: offset {offset} was committed, the position is {self.positions[partition]}"
                for partition, offset in committed.items()
                if offset > max(self.positions[partition], self._committed_before[partition])
            ]
        target = self._target
        if target and self.caught_up_at is None and all(self.positions[part] >= end for part, end in target.items()):
            self.caught_up_at = time.monotonic()


class Case:
    """One fault under load."""

    def __init__(self, name: str, system: System, report: Callable[[Row], None]) -> None:
        self._name = name
        self._system = system
        self._report = report
        self._sampler = Sampler(system)
        self._sampler.start()
        self._first = sum(system.positions().values())
        self._struck: int | None = None
        self._published = self._load_min = 0
        self._healed_at: float | None = None

    @property
    def stored(self) -> int:
        """How many records are stored, or rejected, as last seen."""
        return sum(self._sampler.positions.values())

    @contextmanager
    def load(self, per_second: float, *, seed: int = 1) -> Iterator[None]:
        """Publish a mixed load during the block, which begins when records are being stored, and some time after it."""
        errors: list[BaseException] = []
        done = threading.Event()

        def records() -> Iterator[UsageEvent | bytes]:
            for number, record in enumerate(make_load(round(per_second * LOAD_MAX_S), seed=seed)):
                if done.is_set() and number >= self._load_min:
                    return
                self._published = number + 1
                yield record

        def publish() -> None:
            try:
                self._system.publisher.publish(records(), per_second)
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        publishing = threading.Thread(target=publish, name="load")
        publishing.start()
        try:
            wait_until("records are stored", lambda: self.stored >= self._first + FLOWING_MIN)
            yield
        finally:
            done.set()
            publishing.join()
            if errors:
                # instead of what the block waited for in vain, which is its context then
                raise errors[0]

    def strike(self) -> None:
        """Note that the fault happens now, which must be while there are records to store."""
        wait_until("records are left to store", lambda: sum(self._system.ends().values()) > self.stored, 10)
        self._struck = self.stored
        self._load_min = self._published + LOAD_AFTER

    def put_back(self) -> None:
        """Note that the database was put back to an older state, before anybody can use it again."""
        self._sampler.put_back(self._system.ends())

    def heal(self) -> None:
        """Note that the fault is over, and what there is to catch up with."""
        self._healed_at = time.monotonic()
        self._sampler.expect(self._system.ends())

    def conclude(self, timeout_s: float = 120) -> Row:
        """Wait until everything is stored, compare everything with everything, and report."""
        system, sampler = self._system, self._sampler
        assert self._struck is not None, "no fault"
        assert self._healed_at is not None, "the fault was never healed"
        system.wait_drained(timeout_s)
        caught_up_at = wait_until("the sampler sees it", lambda: sampler.caught_up_at)
        for worker in system.running():
            worker.wait_ready()
        # sampled after the end as well: a frozen worker may still commit what it believes
        seen = sampler.count
        wait_until("offsets are sampled", lambda: sampler.count >= seen + 5)
        sampler.stop()
        assert not sampler.findings, sampler.findings[:5]
        system.assert_exact()
        flowed = self.stored - self._struck
        assert flowed >= RECORDS_MIN, f"only {flowed} records were stored after the fault"
        row = Row(
            self._name,
            records=self.stored - self._first,
            replays=sum(worker.replays for worker in system.workers),
            duplicates=sum(worker.duplicates for worker in system.workers),
            rejects=len(system.publisher.rejected),
            recovery_s=round(caught_up_at - self._healed_at, 1),
            memory_mb=sampler.memory_mb,
        )
        self._report(row)
        return row

    def close(self) -> None:
        if self._sampler.is_alive():
            self._sampler.stop()


NewCase = Callable[[System], Case]


@pytest.fixture
def new_case(request: pytest.FixtureRequest) -> Iterator[NewCase]:
    """Begin to watch a system, whose workers may be started before or after."""
    made: list[Case] = []

    def report(row: Row) -> None:
        request.node.user_properties.append((_ROW_PROPERTY, asdict(row)))

    def make(system: System) -> Case:
        made.append(Case(request.node.name.removeprefix("test_"), system, report))
        return made[-1]

    yield make
    for case in made:
        case.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the report be kept."""
    parser.addoption("--fault-report", type=Path, metavar="FILE", help="write the fault cases' report there, as JSON")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print a line for each fault case that passed, and mark what misses its goal."""
    results = [dict(result.user_properties) for result in terminalreporter.getreports("passed")]
    rows = sorted((Row(**told[_ROW_PROPERTY]) for told in results if _ROW_PROPERTY in told), key=lambda row: row.case)
    if path := config.getoption("--fault-report"):
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    if not rows:
        return
    terminalreporter.section("faults")
    heads = ("case", "records", "replays", "duplicates", "rejects", "recovery s", "memory MB")
    lines = [
        (
            row.case, str(row.records), str(row.replays), str(row.duplicates), str(row.rejects),
            f"{row.recovery_s:.1f}{'!' if row.recovery_s > RECOVERY_GOAL_S else ''}",
            f"{row.memory_mb}{'!' if row.memory_mb > MEMORY_GOAL_MB else ''}",
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    for name, *numbers in (heads, *lines):
        cells = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
        terminalreporter.write_line("  ".join([name.ljust(widths[0]), *cells]))
    terminalreporter.write_line(f"goals: recovery {RECOVERY_GOAL_S} s, memory of a worker {MEMORY_GOAL_MB} MB")
