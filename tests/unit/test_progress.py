"""How far a partition is: lag by what the consumer and the lane know."""

import pytest

from worker.runs.progress import Progress, Reach, measure

NOW_S = 1_000.0


def progress(position: int, reach: Reach | None, *, delivered: int | None = None, is_idle: bool = True) -> Progress:
    return measure(
        3,
        position,
        reach=reach,
        delivered=position if delivered is None else delivered,
        is_idle=is_idle,
        now_s=NOW_S,
    )


def reach(position: int, end: int, age_s: float = 0.25) -> Reach:
    return Reach(position, end, NOW_S - age_s)


@pytest.mark.parametrize(
    ("position", "where", "delivered", "is_idle", "lag"),
    [
        (10, reach(10, 10), 10, True, 0),
        (10, reach(10, 14), 10, True, 4),  # an end that the consumer has not fetched
        (10, reach(12, 12), 10, True, 0),  # a partition that ends with control records
        (10, reach(15, 20), 15, False, 10),  # what is delivered and not stored waits too
        (10, reach(10, 10), 15, False, 5),  # delivered after the broker named the end
        (15, reach(10, 12), 15, True, 0),  # stored after the broker named the end
    ],
)
def test_lag_counts_what_is_not_stored(position, where, delivered, is_idle, lag) -> None:
    """Offsets below the end that are not stored wait; those that the consumer passed without a record do not."""
    assert progress(position, where, delivered=delivered, is_idle=is_idle) == Progress(3, position, lag, 0.25)


@pytest.mark.parametrize("where", [None, reach(10, 10, age_s=11)])
def test_lag_is_not_known_without_a_recent_end(where) -> None:
    """A lag is never zero because the broker has not named the end, or not of late."""
    assert progress(10, where) == Progress(3, 10, None, None)
