"""
The statistics of codes, by columns.

A run touches thousands of codes, and a partition may have a million. As numbers in columns they are counted
by a few operations over all codes of a run, and take less memory than an object for each.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

RECENT_MAX: Final = 5
NEVER_US: Final = np.iinfo(np.int64).min
"""The date of what never was: of a code that was never used, and of a place that no recent user takes."""

Numbers = NDArray[np.int64]
Halves = NDArray[np.uint64]
"""UUIDs of 16 bytes each, as numbers of 64 bits: the last axis has the higher half and the lower one."""
Places = NDArray[np.intp]
Flags = NDArray[np.bool]

Recent = tuple[tuple[int, bytes], ...]
"""(latest date_used in microseconds since 1970, user) of up to five distinct users, greatest first."""


class Counts(NamedTuple):
    """Statistics of one code, as they are committed."""

    total_uses: int
    unique_users: int
    last_used_us: int
    recent: Recent


@dataclass(frozen=True, slots=True)
class Columns:
    """
    Statistics of n codes; microseconds count from 1970.

    Args:
        total_uses, unique_users, last_used_us: (n,).
        recent_dates_us: (n, 5), of the recent users, greatest first; `NEVER_US` where there are fewer.
        recent_users: (n, 5, 2); of places that nobody takes, anything.
    """

    total_uses: Numbers
    unique_users: Numbers
    last_used_us: Numbers
    recent_dates_us: Numbers
    recent_users: Halves

    @classmethod
    def never_used(cls, code_count: int) -> "Columns":
        """Return the statistics of codes that were never used."""
        return cls(
            np.zeros(code_count, np.int64),
            np.zeros(code_count, np.int64),
            np.full(code_count, NEVER_US),
            np.full((code_count, RECENT_MAX), NEVER_US),
            np.zeros((code_count, RECENT_MAX, 2), np.uint64),
        )

    @property
    def each(self) -> tuple[Numbers | Halves, ...]:
        """All columns."""
        return self.total_uses, self.unique_users, self.last_used_us, self.recent_dates_us, self.recent_users

    def make_room(self, code_count: int) -> None:
        """
        Make room for so many codes, in place: a copy of a million would stop everything for half a second.

        Views of the columns must not be used afterwards.
        """
        for column in self.each:
            column.resize((code_count, *column.shape[1:]), refcheck=False)

    def pick(self, chosen: Places | slice) -> "Columns":
        """Return the statistics of the chosen codes: copies by their places, or views of a slice."""
        return Columns(*(column[chosen] for column in self.each))  # type: ignore[arg-type]  # in their order


class Statistics(Mapping[bytes, Counts]):
    """
    Statistics by code, of 16 bytes; looked at one by one they are `Counts`.

    Args:
        codes: distinct.
        columns: of these codes, in their order; this object's from now on.
    """

    def __init__(self, codes: Iterable[bytes] = (), columns: Columns | None = None) -> None:
        self._places = dict(zip(codes, count()))
        # with room for more
        self._columns = Columns.never_used(0) if columns is None else columns

    @property
    def columns(self) -> Columns:
        """Views of the columns, in the order of iteration over the codes."""
        return self._columns.pick(slice(len(self)))

    @property
    def pair_count(self) -> int:
        """How many distinct (code, user) pairs there are."""
        return int(self.columns.unique_users.sum())

    def unknown(self, codes: Iterable[bytes]) -> set[bytes]:
        """Return those of the codes of which nothing is here."""
        return set(codes).difference(self._places)

    def places_of(self, codes: Sequence[bytes]) -> Places:
        """Return the places of codes in the columns, -1 for those that are not here: (len(codes),)."""
        return np.fromiter(map(self._places.get, codes, repeat(-1)), np.intp, len(codes))

    def pick(self, codes: Sequence[bytes]) -> "Statistics":
        """Return copies of the statistics of distinct codes; those that are not here were never used."""
        places = self.places_of(codes)
        is_known = places >= 0
        picked = Columns.never_used(len(codes))
        for target, source in zip(picked.each, self._columns.each, strict=True):
            target[is_known] = source[places[is_known]]
        return Statistics(codes, picked)

    def update(self, newer: "Statistics") -> None:
        """Put in statistics in place of those that are here of the same codes."""
        added = [code for code in newer if code not in self._places]
        self._places.update(zip(added, count(len(self))))
        capacity = len(self._columns.total_uses)
        if len(self) > capacity:
            self._columns.make_room(max(len(self), capacity + capacity // 8))
        places = self.places_of(list(newer))
        for target, source in zip(self._columns.each, newer.columns.each, strict=True):
            target[places] = source

    def __contains__(self, code: object) -> bool:
        return code in self._places

    def __getitem__(self, code: bytes) -> Counts:
        place = self._places[code]
        columns = self._columns
        dates_us = [date_us for date_us in columns.recent_dates_us[place].tolist() if date_us != NEVER_US]
        users = from_halves(columns.recent_users[place])
        return Counts(
            int(columns.total_uses[place]),
            int(columns.unique_users[place]),
            int(columns.last_used_us[place]),
            tuple(zip(dates_us, users, strict=False)),
        )

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def count_recent(recent_dates_us: Numbers) -> Places:
    """Return how many recent users each code has: (n,), from (n, 5)."""
    counts: Places = (recent_dates_us != NEVER_US).sum(axis=1)
    return counts


def to_halves(uuids: Sequence[bytes]) -> Halves:
    """Return UUIDs of 16 bytes as numbers: (len(uuids), 2)."""
    return np.frombuffer(b"".join(uuids), ">u8").astype(np.uint64).reshape(-1, 2)


def from_halves(halves: Halves) -> list[bytes]:
    """Return the UUIDs that were made numbers: one for each row."""
    joined = halves.astype(">u8").tobytes()
    return [joined[at : at + 16] for at in range(0, len(joined), 16)]
