"""How long a worker takes until it works: to load a partition's table, and from its start to its first event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.events import FIRST_DATE
from bench.growth.subject import Say, Subject
from bench.history import History
from bench.restarting import measure_restart
from bench.services import Services

USES_PER_CODE: Final = 5
USER_COUNT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    code_counts: Sequence[int]
    start_count: int


class Start(NamedTuple):
    """
    A start of a worker whose group and database are up to date.

    Args:
        stored_code_count: as asked for; every start adds one.
        code_count: in its only partition.
        load_s: from the first query to the last code in memory.
        first_event_s: from the start of the process to the commit of an event that was waiting.
    """

    stored_code_count: int
    code_count: int
    load_s: float
    first_event_s: float


def measure_loading(services: Services, plan: Plan, say: Say) -> list[Start]:
    """Start a worker over partitions of several sizes, several times each."""
    starts = []
    for place, code_count in enumerate(plan.code_counts, 1):
        subject = Subject(services, f"loading-{code_count}", place, partition_count=1)
        try:
            say(f"storing {code_count:,} codes ...")
            subject.store(History(USES_PER_CODE * code_count, code_count, USER_COUNT, 1, FIRST_DATE))
            say("starting the worker ...")
            subject.start()
            for _ in range(plan.start_count):
                first_event_s = measure_restart(
                    subject.worker, services.kafka.bootstrap_servers, subject.name, subject.conn
                )
                (loaded,) = subject.said("partition loaded")
                starts.append(Start(code_count, loaded["codes"], loaded["load_s"], first_event_s))
                say(f"{loaded['codes']:,} codes in {loaded['load_s']:.2f} s, first event after {first_event_s:.2f} s")
            subject.worker.stop()
            subject.check_statistics()
        finally:
            subject.close()
    return starts
