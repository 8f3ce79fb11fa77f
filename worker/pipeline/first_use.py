"""
First uses: whether anything stored has a (code, user) pair already.

A Bloom filter that holds all pairs of a partition answers `certainly new` without the database, which is the answer for
nearly every usage; the rest is looked up. Pairs are 32 bytes: code, then user.
"""

import math
from collections.abc import Container, Sequence
from typing import Final

from psycopg import AsyncCursor
from rbloom import Bloom

from worker.pipeline.binary import uuid_array
from worker.sql import queries

# of the pairs that are new, this share is looked up in vain; a tenth of it would cost half as many bits again
_FALSE_POSITIVES: Final = 0.01
_BITS_PER_PAIR: Final = -math.log(_FALSE_POSITIVES) / math.log(2) ** 2
_SMALLEST_PAIRS: Final = 100_000


class PairFilter:
    """
    The pairs of one partition, from the moment it is loaded until it is released.

    A filter counts only while it holds every pair stored. It is fed after each commit; what was stored before comes
    from a scan of the rows, until which every pair is looked up. A filter that has outgrown its size goes on, less
    sharply, while a larger one is filled.

    Args:
        pair_count: pairs stored when the partition was loaded; with none, there is nothing to scan.
        max_bytes: a larger filter is not made: the partition goes on with lookups, or with the filter that it has.
    """

    def __init__(self, pair_count: int, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pair_count = pair_count
        self._whole: Bloom | None = None
        self._filling: Bloom | None = None
        self._capacity = 0
        if pair_count == 0:
            self._whole = self._new()
        else:
            self._filling = self._new()

    @property
    def is_filling(self) -> bool:
        """Whether the pairs of a scan that begins now are wanted."""
        return self._filling is not None

    @property
    def size_bytes(self) -> int:
        """Memory of the filters at work."""
        return sum(bloom.size_in_bits // 8 for bloom in (self._whole, self._filling) if bloom is not None)

    def possibly_used(self, pairs: Sequence[bytes]) -> Sequence[bytes]:
        """Return the pairs that a stored usage may have; all others are certainly new."""
        whole = self._whole
        return pairs if whole is None else [pair for pair in pairs if pair in whole]

    def feed(self, pairs: Sequence[bytes]) -> None:
        """Put in pairs that were new and are committed now."""
        self._pair_count += len(pairs)
        for bloom in (self._whole, self._filling):
            if bloom is not None:
                bloom.update(pairs)
        if self._whole is not None and self._filling is None and self._pair_count > self._capacity:
            self._filling = self._new()

    def fill(self, pairs: Sequence[bytes]) -> None:
        """Put in pairs that a scan has found."""
        if self._filling is not None:
            self._filling.update(pairs)

    def finish(self) -> None:
        """Trust the filter just filled: everything stored before it was made has been put in, or fed since."""
        self._whole, self._filling = self._filling, None

    def _new(self) -> Bloom | None:
        # twice what is there: a scan is needed again only when the partition has doubled
        capacity = max(2 * self._pair_count, _SMALLEST_PAIRS)
        self._capacity = capacity
        if capacity * _BITS_PER_PAIR / 8 > self._max_bytes:
            return None
        return Bloom(capacity, _FALSE_POSITIVES)


async def find_used(
    cursor: AsyncCursor, pairs: Sequence[bytes], codes: Container[bytes], pair_filter: PairFilter
) -> set[bytes]:
    """
    Return those of the pairs that a stored usage has already.

    Args:
        codes: those of the partition that have a stored usage.
        pair_filter: of the same partition and position.
    """
    doubtful = {pair for pair in pair_filter.possibly_used(pairs) if pair[:16] in codes}
    if not doubtful:
        return set()
    looked_up = list(doubtful)
    await cursor.execute(
        queries["find_used"],
        {
            "codes": uuid_array([pair[:16] for pair in looked_up]),
            "users": uuid_array([pair[16:] for pair in looked_up]),
        },
    )
    return {looked_up[place - 1] for (place,) in await cursor.fetchall()}
