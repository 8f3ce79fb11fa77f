"""Throughput against the rows already stored: with the filters of first uses filled, being filled, and without any."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.events import FIRST_DATE, PARTITION_COUNT, make_events
from bench.growth.draining import Drained, drain
from bench.growth.subject import Say, Subject
from bench.history import History
from bench.services import Services

CODE_COUNT: Final = 1000
# so many that most usages are of new pairs, as in life: a pair is used again by a few in a hundred
USER_COUNT: Final = 1_000_000
FILLED: Final = "filled"
FILLING: Final = "being filled"
NO_FILTER: Final = "none: every pair is looked up"
FILTERS: Final = (FILLED, FILLING, NO_FILTER)
NO_FILTER_SETTINGS: Final = {"FILTER_MAX_BYTES": "0"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; each of `row_counts` stands beside an empty table."""

    row_counts: Sequence[int]
    event_count: int
    round_count: int


class RowsDrain(NamedTuple):
    """A backlog drained over rows; `round` tells what ran in turns with it."""

    round: int
    row_count: int
    pair_filter: str
    drained: Drained


def measure_rows(services: Services, plan: Plan, say: Say) -> list[RowsDrain]:
    """
    Drain backlogs over histories of several lengths, in turns.

    A worker that starts over many rows looks up every pair until its filters are filled. This is measured first, beside
    a worker that fills none; then all workers fill theirs and go on running.
    """
    with ExitStack() as stack:
        # creating and dropping a database are checkpoints: none of them may come between drains that are compared
        empty = [_new_empty(services, number) for number in range(1, 2 * plan.round_count + 1)]
        for subject in empty:
            stack.callback(subject.close)
        stored = {}
        for place, row_count in enumerate(plan.row_counts, 2):
            say(f"storing {row_count:,} rows ...")
            stored[row_count] = _store(services, row_count, place)
            stack.callback(stored[row_count].close)
        say("draining while filters are being filled ...")
        drains = [
            taken
            for number in range(1, plan.round_count + 1)
            for taken in _take_starting(services, plan, empty[number - 1], stored, number, say)
        ]
        say("filling all filters ...")
        for row_count, subject in stored.items():
            subject.start()
            say(f"{row_count:,} rows: filters filled in {subject.wait_filled():,.1f} s")
        say("draining with filled filters ...")
        for number in range(plan.round_count + 1, 2 * plan.round_count + 1):
            drains += _take_filled(services, plan, empty[number - 1], stored, number, say)
        for row_count, subject in stored.items():
            subject.worker.stop()
            say(f"{row_count:,} rows: comparing the statistics with all rows ...")
            subject.check_statistics()
    return drains


def _new_empty(services: Services, number: int) -> Subject:
    return Subject(services, f"rows-0-round-{number}", 1, PARTITION_COUNT)


def _store(services: Services, row_count: int, worker_number: int) -> Subject:
    subject = Subject(services, f"rows-{row_count}", worker_number, PARTITION_COUNT)
    subject.store(History(row_count, CODE_COUNT, USER_COUNT, PARTITION_COUNT, FIRST_DATE))
    return subject


def _take_starting(
    services: Services, plan: Plan, empty: Subject, stored: Mapping[int, Subject], number: int, say: Say
) -> Iterator[RowsDrain]:
    yield _take_empty(services, plan, empty, number, say)
    # whoever comes second meets a warmer database: they take turns
    for row_count, subject in _in_turn(stored, number):
        for pair_filter in (FILLING, NO_FILTER) if number % 2 else (NO_FILTER, FILLING):
            subject.start(NO_FILTER_SETTINGS if pair_filter == NO_FILTER else {})
            yield _take(services, plan, subject, row_count, pair_filter, number, say)
            subject.worker.stop()


def _take_filled(
    services: Services, plan: Plan, empty: Subject, stored: Mapping[int, Subject], number: int, say: Say
) -> Iterator[RowsDrain]:
    yield _take_empty(services, plan, empty, number, say)
    for row_count, subject in _in_turn(stored, number):
        yield _take(services, plan, subject, row_count, FILLED, number, say)


def _in_turn(stored: Mapping[int, Subject], number: int) -> list[tuple[int, Subject]]:
    return list(stored.items())[:: 1 if number % 2 else -1]


def _take_empty(services: Services, plan: Plan, subject: Subject, number: int, say: Say) -> RowsDrain:
    subject.start()
    taken = _take(services, plan, subject, 0, FILLED, number, say)
    subject.worker.stop()
    subject.check_statistics()
    return taken


def _take(
    services: Services, plan: Plan, subject: Subject, row_count: int, pair_filter: str, number: int, say: Say
) -> RowsDrain:
    # a database must not get the same events twice; drains that are compared get the same
    seed = 100 * number + FILTERS.index(pair_filter)
    events = make_events(plan.event_count, seed, code_count=CODE_COUNT, user_count=USER_COUNT)
    taken = RowsDrain(number, row_count, pair_filter, drain(subject, services, events))
    say(f"round {number}: {row_count:,} rows, filters {pair_filter}: {taken.drained.events_per_s:,.0f} events/s")
    return taken
