"""Throughput against the number of codes, each time from an empty table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.events import PARTITION_COUNT, USER_COUNT, make_events
from bench.growth.draining import Drained, drain
from bench.growth.subject import Say, Subject
from bench.services import Services


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; the first of `code_counts` is what the others are compared with."""

    code_counts: Sequence[int]
    event_count: int
    round_count: int


class CodesDrain(NamedTuple):
    """A backlog drained into an empty table, its events even over the codes."""

    round: int
    code_count: int
    drained: Drained


def measure_codes(services: Services, plan: Plan, say: Say) -> list[CodesDrain]:
    """Drain backlogs of the same length with more and more codes, in turns."""
    drains = []
    for number in range(1, plan.round_count + 1):
        for code_count in plan.code_counts[:: 1 if number % 2 else -1]:
            taken = CodesDrain(number, code_count, _drain_into_empty(services, plan.event_count, code_count, number))
            say(f"round {number}: {code_count:,} codes: {taken.drained.events_per_s:,.0f} events/s")
            drains.append(taken)
    return drains


def _drain_into_empty(services: Services, event_count: int, code_count: int, number: int) -> Drained:
    subject = Subject(services, f"codes-{code_count}-round-{number}", 1, PARTITION_COUNT)
    try:
        subject.start()
        events = make_events(event_count, code_count=code_count, user_count=USER_COUNT)
        drained = drain(subject, services, events)
        subject.worker.stop()
        subject.check_statistics()
    finally:
        subject.close()
    return drained
