"""How far a partition is: what of it waits to be stored, as far as that is known."""

from typing import Final, NamedTuple

# an end that the broker named longer ago says nothing about now: the broker, or the way to it, may be gone
_END_KNOWN_S: Final = 10.0


class Reach(NamedTuple):
    """
    Where the consumer was in a partition at a moment when all it had fetched was delivered to the lane.

    Args:
        position: the next offset to fetch.
        end: of the partition, its high watermark: records of open transactions wait as well.
        asked_s: when the broker named the end, by the monotonic clock.
    """

    position: int
    end: int
    asked_s: float


class Progress(NamedTuple):
    """
    How far a lane is in its partition.

    Args:
        position: the next offset to store.
        lag: offsets that wait to be stored; None while that is not known.
        age_s: seconds since the end was what it is said to be; None while that is not known.
    """

    partition: int
    position: int
    lag: int | None
    age_s: float | None


def measure(
    partition: int, position: int, *, reach: Reach | None, delivered: int, is_idle: bool, now_s: float
) -> Progress:
    """
    Return the progress of a lane.

    Args:
        position: the next offset to store.
        reach: taken in this lane's time; None when the broker has not named the end yet.
        delivered: one past the last record delivered to the lane.
        is_idle: whether everything delivered is stored.
        now_s: by the monotonic clock.
    """
    if reach is None or now_s - reach.asked_s > _END_KNOWN_S:
        return Progress(partition, position, None, None)
    # offsets may end without records (transaction markers, compaction): they are passed by the consumer alone
    done = max(position, reach.position) if is_idle else position
    return Progress(partition, position, max(0, max(reach.end, delivered) - done), now_s - reach.asked_s)
