"""Counting: usages folded into the statistics of their codes. Pure; counting a run in two parts equals one."""

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import compress
from typing import Final, NamedTuple

from worker.pipeline.decode import Usage

RECENT_MAX: Final = 5
_HOUR_US: Final = 3_600_000_000

Recent = tuple[tuple[int, bytes], ...]
"""(latest date_used in microseconds since 1970, user) of up to five distinct users, greatest first."""


class Counts(NamedTuple):
    """Statistics of one code, as they are committed."""

    total_uses: int
    unique_users: int
    last_used_us: int
    recent: Recent


class Counted(NamedTuple):
    """What a run adds up to."""

    touched: dict[bytes, Counts]  # by code: absolute values after the run
    first_uses: list[bool]  # one for each usage, in their order


def count(usages: Iterable[Usage], stats: Mapping[bytes, Counts], used: AbstractSet[bytes]) -> Counted:
    """
    Fold usages into copies of their codes' statistics.

    Args:
        usages: in the order in which they count; none counted before.
        stats: the committed statistics by code; read, never written.
        used: the (code, user) pairs, 32 bytes each, that a stored usage has already.
    """
    seen = set(used)
    first_uses: list[bool] = []
    tallies: dict[bytes, _Tally] = {}
    for _uuid, code, user, date_us, _offset in usages:
        tally = tallies.get(code)
        if tally is None:
            tally = tallies[code] = _Tally(stats.get(code))
        tally.total_uses += 1
        pair = code + user
        first = pair not in seen
        if first:
            seen.add(pair)
            tally.unique_users += 1
        first_uses.append(first)
        recent = tally.recent
        # in a backlog out of order most usages are neither a new user's nor later than what is known
        if len(recent) < RECENT_MAX or date_us >= recent[-1][0]:
            _note_recent(recent, (date_us, user))
    return Counted({code: tally.counts() for code, tally in tallies.items()}, first_uses)


def count_hours(usages: Iterable[Usage], first_uses: Iterable[bool]) -> dict[int, tuple[int, int]]:
    """Return uses and first uses by hour of `date_used`, in hours since 1970; `first_uses` is `Counted`'s."""
    hours = [usage.date_us // _HOUR_US for usage in usages]
    uses, firsts = Counter(hours), Counter(compress(hours, first_uses))
    return {hour: (count, firsts[hour]) for hour, count in uses.items()}


class _Tally:
    """The statistics of one code while a run is counted."""

    __slots__ = ("recent", "total_uses", "unique_users")

    def __init__(self, before: Counts | None) -> None:
        self.total_uses, self.unique_users, _, recent = before or (0, 0, 0, ())
        self.recent = list(recent)

    def counts(self) -> Counts:
        # the greatest recent date is the greatest of all: a code's latest usage is never pushed out
        return Counts(self.total_uses, self.unique_users, self.recent[0][0], tuple(self.recent))


def _note_recent(recent: list[tuple[int, bytes]], entry: tuple[int, bytes]) -> None:
    for index, known in enumerate(recent):
        if known[1] == entry[1]:
            if known >= entry:
                return
            del recent[index]
            break
    place = 0
    while place < len(recent) and recent[place] > entry:
        place += 1
    recent.insert(place, entry)
    del recent[RECENT_MAX:]
