"""Memory of one worker against the codes and the (code, user) pairs that it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.events import FIRST_DATE, PARTITION_COUNT, make_events
from bench.growth.draining import drain
from bench.growth.subject import Say, Subject, peak_memory_bytes
from bench.history import History
from bench.services import Services
from bench.sql import fetch_row

# pairs hardly ever repeat, so there are nearly as many as usages
USER_COUNT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How much is measured.

    Args:
        sizes: codes and usages stored.
        event_count: of the backlog on top.
    """

    sizes: Sequence[tuple[int, int]]
    event_count: int


class Memory(NamedTuple):
    """The most memory that a worker has held, and what it held in the end."""

    code_count: int
    pair_count: int
    peak_bytes: int
    filling_s: float


def measure_memory(services: Services, plan: Plan, say: Say) -> list[Memory]:
    """Let a worker load all partitions, fill its filters and drain a backlog, for each of the sizes."""
    taken = []
    for place, (code_count, usage_count) in enumerate(plan.sizes, 1):
        subject = Subject(services, f"memory-{code_count}-{usage_count}", place, PARTITION_COUNT)
        try:
            say(f"storing {usage_count:,} usages of {code_count:,} codes ...")
            if usage_count:
                subject.store(History(usage_count, code_count, USER_COUNT, PARTITION_COUNT, FIRST_DATE))
            subject.start()
            filling_s = subject.wait_filled() if usage_count else 0.0
            drain(subject, services, make_events(plan.event_count, code_count=code_count, user_count=USER_COUNT))
            peak_bytes = peak_memory_bytes(subject.worker.pid)
            subject.worker.stop()
            subject.check_statistics()
            pair_count, held_count = fetch_row(subject.conn, "pairs")
            taken.append(Memory(held_count, pair_count, peak_bytes, filling_s))
            say(f"{held_count:,} codes and {pair_count:,} pairs: {peak_bytes / 1e6:,.0f} MB")
        finally:
            subject.close()
    return taken
