"""Counting: usages folded into the statistics of their codes. Pure; counting a run in two parts equals one."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import numpy as np

from worker.pipeline.statistics import (
    NEVER_US,
    RECENT_MAX,
    Flags,
    Halves,
    Numbers,
    Places,
    Statistics,
    count_recent,
    to_halves,
)
from worker.pipeline.usages import Usages

_HOUR_US: Final = 3_600_000_000


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


class _Entries(NamedTuple):
    """Usages by columns of one length: the places of their codes, dates in microseconds since 1970, users."""

    places: Places
    dates_us: Numbers
    users: Halves

    def pick(self, chosen: Places | Flags) -> "_Entries":
        return _Entries(self.places[chosen], self.dates_us[chosen], self.users[chosen])


class _Recent(NamedTuple):
    """Recent users of each code, as `Columns` has them, or of both sides of a merge."""

    dates_us: Numbers
    users: Halves


def count(usages: Usages, first_uses: Sequence[bool], stats: Statistics) -> Statistics:
    """
    Fold usages into copies of their codes' statistics, and return those: absolute values by code.

    Args:
        usages: none counted before; their order does not matter.
        first_uses: one for each usage.
        stats: the committed statistics by code; read, never written.
    """
    touched = stats.pick(list(dict.fromkeys(usages.codes)))
    columns, code_count = touched.columns, len(touched)
    entries = _Entries(touched.places_of(usages.codes), np.array(usages.dates_us, np.int64), to_halves(usages.users))
    is_first = np.array(first_uses, np.bool)
    columns.total_uses[:] += np.bincount(entries.places, minlength=code_count)
    columns.unique_users[:] += np.bincount(entries.places[is_first], minlength=code_count)
    # where every use is a user's first, nobody is in the run twice, nor among the recent users
    repeats = np.zeros(code_count, np.bool)
    repeats[entries.places[~is_first]] = True
    latest = _find_greatest(_without_repeats(entries, repeats), code_count)
    np.maximum(columns.last_used_us, latest.dates_us[:, 0], out=columns.last_used_us)
    recent = _Recent(columns.recent_dates_us, columns.recent_users)
    columns.recent_dates_us[:], columns.recent_users[:] = _merge(latest, recent, repeats)
    return touched


def _without_repeats(entries: _Entries, repeats: Flags) -> _Entries:
    """Leave of each user of a code the latest entry; `repeats` tells the codes that may have more."""
    doubtful = np.flatnonzero(repeats[entries.places])
    if not len(doubtful):
        return entries
    places, dates_us, (high, low) = entries.places[doubtful], entries.dates_us[doubtful], entries.users[doubtful].T
    order = np.lexsort((dates_us, low, high, places))
    keys = np.stack((places[order].astype(np.uint64), high[order], low[order]))
    is_superseded = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
    stays = np.ones(len(entries.places), np.bool)
    stays[doubtful[order[:-1][is_superseded]]] = False
    return entries.pick(stays)


def _find_greatest(entries: _Entries, code_count: int) -> _Recent:
    """Return the five greatest entries of each code."""
    high, low = entries.users.T
    places, dates_us, users = entries.pick(np.lexsort((low, high, entries.dates_us, entries.places)))
    # counted from the last entry of each code
    ranks = np.bincount(places, minlength=code_count).cumsum()[places] - np.arange(1, len(places) + 1)
    is_recent = ranks < RECENT_MAX
    greatest = _Recent(np.full((code_count, RECENT_MAX), NEVER_US), np.zeros((code_count, RECENT_MAX, 2), np.uint64))
    where = places[is_recent], ranks[is_recent]
    greatest.dates_us[where], greatest.users[where] = dates_us[is_recent], users[is_recent]
    return greatest


def _merge(latest: _Recent, before: _Recent, repeats: Flags) -> _Recent:
    """Return the five greatest of both, at least one of them latest; where `repeats`, a user may be in both."""
    dates_us = np.concatenate((latest.dates_us, before.dates_us), axis=1)
    users = np.concatenate((latest.users, before.users), axis=1)
    # in most streams all that is latest comes before all that was
    latest_counts = count_recent(latest.dates_us)[:, np.newaxis]
    ranks = np.arange(RECENT_MAX)
    order = np.where(ranks < latest_counts, ranks, ranks - latest_counts + RECENT_MAX)
    earliest_us = np.take_along_axis(latest.dates_us, latest_counts - 1, axis=1)[:, 0]
    mixed = np.flatnonzero(repeats | (earliest_us <= before.dates_us[:, 0]))
    if len(mixed):
        dates_us[mixed] = _drop_earlier(dates_us[mixed], users[mixed])
        sortable = users[mixed, :, 1], users[mixed, :, 0], dates_us[mixed]
        order[mixed] = np.lexsort(sortable, axis=1)[:, : -RECENT_MAX - 1 : -1]
    return _Recent(
        np.take_along_axis(dates_us, order, axis=1), np.take_along_axis(users, order[:, :, np.newaxis], axis=1)
    )


def _drop_earlier(dates_us: Numbers, users: Halves) -> Numbers:
    """Return dates without the earlier one of a user who is in both halves of a merge."""
    latest_us, before_us = np.hsplit(dates_us[:, :, np.newaxis], 2)
    latest, before = np.hsplit(users[:, :, np.newaxis], 2)
    before_us, before = before_us.swapaxes(1, 2), before.swapaxes(1, 2)
    is_same = (latest == before).all(axis=-1)
    return np.concatenate(
        (
            np.where((is_same & (latest_us < before_us)).any(axis=2), NEVER_US, latest_us[:, :, 0]),
            np.where((is_same & (latest_us >= before_us)).any(axis=1), NEVER_US, before_us[:, 0]),
        ),
        axis=1,
    )


def count_hours(dates_us: Sequence[int], first_uses: Sequence[bool]) -> dict[int, tuple[int, int]]:
    """Return uses and first uses by hour of `date_used`, in hours since 1970; `first_uses` has one for each usage."""
    hours, places = np.unique(np.array(dates_us, np.int64) // _HOUR_US, return_inverse=True)
    uses = np.bincount(places)
    firsts = np.bincount(places[np.array(first_uses, np.bool)], minlength=len(hours))
    return dict(zip(hours.tolist(), zip(uses.tolist(), firsts.tolist(), strict=True), strict=True))
