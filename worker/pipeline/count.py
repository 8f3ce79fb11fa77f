"""Counting: usages folded into the statistics of their codes. Pure; counting a run in two parts equals one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress
from typing import Final, NamedTuple, TypeVar

from worker.pipeline.recent import RECENT_MAX, Recent, pack, put_first, unpack
from worker.pipeline.usages import Usages

_HOUR_US: Final = 3_600_000_000

Key = TypeVar("Key")


class Counts(NamedTuple):
    """Statistics of one code, as they are committed; the recent users are packed, see `recent`."""

    total_uses: int
    unique_users: int
    last_used_us: int
    recent_users: bytes
    recent_dates: bytes

    @classmethod
    def of(cls, total_uses: int, unique_users: int, recent: Sequence[tuple[int, bytes]]) -> "Counts":
        """Return statistics whose recent users are given, at least one; the latest of them is the last use."""
        # a code's latest usage is never pushed out, so the greatest recent date is the greatest of all
        return cls(total_uses, unique_users, recent[0][0], *pack(recent))

    @property
    def recent(self) -> Recent:
        """The recent users, greatest first."""
        return tuple(unpack(self.recent_users, self.recent_dates))


_NEVER_USED: Final = Counts(0, 0, -1, b"", b"")


def find_firsts(keys: Sequence[bytes], known: AbstractSet[bytes]) -> list[bool]:
    """
    Return whether each key is the first of its kind.

    Args:
        keys: in the order in which they count: of usages the identities, or the (code, user) pairs.
        known: the keys that something stored has already.
    """
    if not known and len(set(keys)) == len(keys):
        return [True] * len(keys)
    seen = set(known)
    firsts = []
    for key in keys:
        firsts.append(key not in seen)
        seen.add(key)
    return firsts


def count(usages: Usages, first_uses: Sequence[bool], stats: Mapping[bytes, Counts]) -> dict[bytes, Counts]:
    """
    Fold usages into copies of their codes' statistics, and return those: absolute values by code.

    Args:
        usages: none counted before; their order does not matter.
        first_uses: one for each usage.
        stats: the committed statistics by code; read, never written.
    """
    uses, firsts = _tally(usages.codes, first_uses)
    recents = {code: unpack(*stats.get(code, _NEVER_USED)[3:]) for code, number in uses.items() if number > 1}
    floors = {code: _floor(recent) for code, recent in recents.items()}
    touched = {}
    # the latest come last in most streams: taken first, they leave the rest of their code below its floor
    for code, user, date_us in zip(
        reversed(usages.codes), reversed(usages.users), reversed(usages.dates_us), strict=True
    ):
        floor = floors.get(code)
        if floor is None:
            touched[code] = _count_one(stats.get(code, _NEVER_USED), firsts[code], date_us, user)
        elif date_us >= floor:
            recent = recents[code]
            _note_recent(recent, (date_us, user))
            floors[code] = _floor(recent)
    for code, recent in recents.items():
        total_uses, unique_users, *_ = stats.get(code, _NEVER_USED)
        touched[code] = Counts.of(total_uses + uses[code], unique_users + firsts[code], recent)
    return touched


def _count_one(counts: Counts, first_use: int, date_us: int, user: bytes) -> Counts:
    """Return statistics with one more usage; with many codes, most have only one in a run."""
    total_uses, unique_users, last_used_us, users, dates = counts
    if date_us > last_used_us and user not in users:
        return Counts(total_uses + 1, unique_users + first_use, date_us, *put_first(date_us, user, users, dates))
    recent = unpack(users, dates)
    _note_recent(recent, (date_us, user))
    return Counts.of(total_uses + 1, unique_users + first_use, recent)


def count_hours(dates_us: Sequence[int], first_uses: Sequence[bool]) -> dict[int, tuple[int, int]]:
    """Return uses and first uses by hour of `date_used`, in hours since 1970; `first_uses` has one for each usage."""
    uses, firsts = _tally([date_us // _HOUR_US for date_us in dates_us], first_uses)
    return {hour: (count, firsts[hour]) for hour, count in uses.items()}


def _tally(keys: Sequence[Key], first_uses: Sequence[bool]) -> tuple[Counter[Key], Counter[Key]]:
    """Return uses and first uses by key; in a stream of new pairs both are the same."""
    uses = Counter(keys)
    return uses, uses if all(first_uses) else Counter(compress(keys, first_uses))


def _floor(recent: Sequence[tuple[int, bytes]]) -> int:
    """Return the date below which no usage can change its code's recent users."""
    return recent[-1][0] if len(recent) == RECENT_MAX else 0


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
