"""Counting: usages folded into the statistics of their codes. Pure; counting a run in two parts equals one."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from worker.pipeline.decode import Usage

RECENT_MAX: Final = 5

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
    totals: dict[bytes, int] = {}
    uniques: dict[bytes, int] = {}
    recents: dict[bytes, list[tuple[int, bytes]]] = {}
    for _uuid, code, user, date_us, _offset in usages:
        recent = recents.get(code)
        if recent is None:
            before = stats.get(code)
            totals[code], uniques[code] = (before.total_uses, before.unique_users) if before else (0, 0)
            recent = recents[code] = list(before.recent) if before else []
        totals[code] += 1
        pair = code + user
        first = pair not in seen
        if first:
            seen.add(pair)
            uniques[code] += 1
        first_uses.append(first)
        _note_recent(recent, (date_us, user))
    touched = {
        # the greatest recent date is the greatest of all: a code's latest usage is never pushed out
        code: Counts(totals[code], uniques[code], recent[0][0], tuple(recent))
        for code, recent in recents.items()
    }
    return Counted(touched, first_uses)


def _note_recent(recent: list[tuple[int, bytes]], entry: tuple[int, bytes]) -> None:
    if len(recent) == RECENT_MAX and entry <= recent[-1]:
        return  # the common case of a backlog out of order: neither a new user nor a later date
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
