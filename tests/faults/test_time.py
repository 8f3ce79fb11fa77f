"""Clocks that are wrong and dates of other times: what is stored, under which date, and what is a reject."""

from datetime import UTC, datetime, timedelta

import pytest
from fix_faults import NewCase
from fix_worker import Fault, System
from publisher import identity, make_events

from schemas import UsageEvent

HOUR = timedelta(hours=1)
COUNT = 50
DATES = "select uuid, date_used from referral_usages where uuid = any(%s)"
REASONS = "select reason, count(*) from referral_rejections where reason like 'date%%' group by 1 order by 1"


def dated(date_used: datetime | None, seed: int) -> list[UsageEvent]:
    return [
        event.model_copy(update={"date_used": date_used, "event_id": f"{seed} {number}"})
        for number, event in enumerate(make_events(COUNT, codes=10, users=20, seed=seed))
    ]


def dates_of(system: System, events: list[UsageEvent]) -> list[datetime]:
    """Return the dates that usages are stored under; there may be none."""
    return [date for _, date in system.conn.execute(DATES, [[identity(event) for event in events]]).fetchall()]


@pytest.mark.parametrize("off", [-HOUR, HOUR], ids=["behind", "ahead"])
def test_worker_whose_clock_is_an_hour_off_loses_nothing(system: System, new_case: NewCase, off: timedelta) -> None:
    """A wrong clock misjudges only what is dated ahead of it: every record is stored or kept, none twice."""
    case = new_case(system)
    system.start_worker(Fault(clock_off_s=round(off.total_seconds()))).wait_ready()
    with case.load(1_500):
        case.strike()
        began = datetime.now(UTC)
        undated, present, ahead = dated(None, 2), dated(began, 3), dated(began + HOUR / 2, 4)
        for events in (undated, present, ahead):
            system.publisher.publish(events)
        published = datetime.now(UTC)
        case.heal()
    is_behind = off < timedelta()
    if is_behind:
        system.publisher.refuse(present + ahead)
    case.conclude()
    assert system.conn.execute(REASONS).fetchall() == ([("date_in_future", 2 * COUNT)] if is_behind else [])
    dates = dates_of(system, undated)
    assert len(dates) == COUNT
    if is_behind:
        # Kafka's time is too far ahead to be believed: the worker's own counts
        assert began + off <= min(dates) <= max(dates) <= datetime.now(UTC) + off
    else:
        # Kafka counts in milliseconds
        assert began - timedelta(milliseconds=1) <= min(dates) <= max(dates) <= published
    assert set(dates_of(system, present + ahead)) == (set() if is_behind else {began, began + HOUR / 2})


def test_dates_of_other_times_are_stored_from_1970_to_the_present(system: System, new_case: NewCase) -> None:
    """A date ten years ahead is a reject, one before 1970 another; the first moment of 1970 is a usage."""
    case = new_case(system)
    system.start_worker().wait_ready()
    first = datetime(1970, 1, 1, tzinfo=UTC)
    oldest, too_old = dated(first, 2), dated(first - timedelta(microseconds=1), 3)
    too_new = dated(datetime.now(UTC) + timedelta(days=3653), 4)
    with case.load(1_500):
        case.strike()
        for events in (oldest, too_old, too_new):
            system.publisher.publish(events)
        case.heal()
    system.publisher.refuse(too_old + too_new)
    case.conclude()
    assert set(dates_of(system, oldest)) == {first}
    assert system.conn.execute(REASONS).fetchall() == [("date_in_future", COUNT), ("date_too_old", COUNT)]
