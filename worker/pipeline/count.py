"""Counting: usages folded into the statistics of their codes. Pure; counting a run in two parts equals one."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress, islice
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
    return {
        code: _add(stats.get(code, _NEVER_USED), uses[code], firsts[code], latest)
        for code, latest in _find_latest(usages).items()
    }


def _find_latest(usages: Usages) -> dict[bytes, list[tuple[int, bytes]]]:
    """Return of each code the entries, (date_used, user), among which its recent users are."""
    entries: defaultdict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    floors: dict[bytes, int] = {}
    # the latest come last in most streams: taken first, they leave the rest of their code below its floor
    for code, date_us, user in zip(
        reversed(usages.codes), reversed(usages.dates_us), reversed(usages.users), strict=True
    ):
        if date_us >= floors.get(code, 0):
            latest = entries[code]
            latest.append((date_us, user))
            if len(latest) >= RECENT_MAX:
                entries[code] = recent = _find_recent(latest)
                if len(recent) == RECENT_MAX:
                    floors[code] = recent[-1][0]
    return entries


def _add(counts: Counts, uses: int, first_uses: int, latest: list[tuple[int, bytes]]) -> Counts:
    """Return statistics with more uses, of which the latest are given."""
    total_uses, unique_users, last_used_us, users, dates = counts
    total_uses += uses
    unique_users += first_uses
    if len(latest) == 1:
        # with many codes, most have only one usage in a run
        date_us, user = latest[0]
        if date_us > last_used_us and user not in users:
            return Counts(total_uses, unique_users, date_us, *put_first(date_us, user, users, dates))
    recent = _find_recent(latest)
    if len(recent) < RECENT_MAX or recent[-1][0] <= last_used_us:
        recent = _find_recent(recent + unpack(users, dates))
    return Counts.of(total_uses, unique_users, recent)


def count_hours(dates_us: Sequence[int], first_uses: Sequence[bool]) -> dict[int, tuple[int, int]]:
    """Return uses and first uses by hour of `date_used`, in hours since 1970; `first_uses` has one for each usage."""
    uses, firsts = _tally([date_us // _HOUR_US for date_us in dates_us], first_uses)
    return {hour: (count, firsts[hour]) for hour, count in uses.items()}


def _tally(keys: Sequence[Key], first_uses: Sequence[bool]) -> tuple[Counter[Key], Counter[Key]]:
    """Return uses and first uses by key; in a stream of new pairs both are the same."""
    uses = Counter(keys)
    return uses, uses if all(first_uses) else Counter(compress(keys, first_uses))


def _find_recent(entries: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return the latest entry of each of the latest users, greatest first; `entries` are (date_used, user)."""
    entries.sort(reverse=True)
    recent = entries[:RECENT_MAX]
    if len({user for _date_us, user in recent}) < len(recent):
        latest: dict[bytes, int] = {}
        for date_us, user in entries:
            latest.setdefault(user, date_us)
        recent = [(date_us, user) for user, date_us in islice(latest.items(), RECENT_MAX)]
    return recent
