"""
The Faust table `code_stats`: statistics by code, as they are committed in PostgreSQL.

Its changelog is PostgreSQL, so the changelog topic stays empty and nobody writes the table by hand. A partition is
loaded when it is assigned and leaves the table when it is revoked; what the table does not hold, PostgreSQL answers.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn, cast
from uuid import UUID

import faust
from faust.stores import memory

from worker.errors import InvariantError
from worker.pipeline.reroute import partition_of
from worker.pipeline.statistics import Counts, Statistics

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HeldCounts(NamedTuple):
    """Statistics of one code as readers take them; zeros for a code never used."""

    total_uses: int
    unique_users: int
    last_used: datetime | None
    recent_users: list[str]


class _Partitions(Mapping[bytes, Counts]):
    """Statistics by code over the partitions held; a whole partition comes or goes at once."""

    def __init__(self) -> None:
        self.held: dict[int, Statistics] = {}

    def __getitem__(self, code: bytes) -> Counts:
        for stats in self.held.values():
            if code in stats:
                return stats[code]
        raise KeyError(code)

    def __iter__(self) -> Iterator[bytes]:
        for stats in self.held.values():
            yield from stats

    def __len__(self) -> int:
        return sum(map(len, self.held.values()))


class _CommittedStore(memory.Store[bytes, Counts]):
    """Faust's in-memory store, whose dictionary is one for each partition."""

    def __post_init__(self) -> None:
        self.data = self.partitions = _Partitions()  # type: ignore[assignment]  # Faust declares it writable
        self._key_partition = {}


class CodeTable(faust.Table):  # type: ignore[type-arg]  # generic for type checkers alone
    """
    What this worker knows of codes: code (16 bytes) to `Counts`.

    Written by `hold`, `show` and `release` alone; setting a key raises, since it would be committed nowhere.
    """

    _partition_count = 0

    def _new_store(self) -> _CommittedStore:
        return _CommittedStore("memory://", self.app, self, table_name=self.name, loop=self.loop)

    @property
    def _held(self) -> dict[int, Statistics]:
        store = cast("_CommittedStore", self.data)
        return store.partitions.held

    def hold(self, partition: int, stats: Statistics, partition_count: int) -> None:
        """Take in a partition as loaded from PostgreSQL; from now on its codes are answered here."""
        self._partition_count = partition_count
        self._held[partition] = stats

    def show(self, partition: int, touched: Statistics) -> None:
        """Put in what a run has just committed."""
        self._held[partition].update(touched)

    def release(self, partition: int) -> None:
        """Let go of a partition's entries; one that is not held is no error."""
        self._held.pop(partition, None)

    def stats_of(self, code_uuid: str) -> HeldCounts | None:
        """Return a code's statistics, zeros if it was never used; None when the table does not hold its partition."""
        if not self._held:
            return None
        stats = self._held.get(partition_of(code_uuid, self._partition_count))
        if stats is None:
            return None
        counts = stats.get(UUID(code_uuid).bytes)
        if counts is None:
            return HeldCounts(0, 0, None, [])
        return HeldCounts(
            counts.total_uses,
            counts.unique_users,
            _UNIX_EPOCH + timedelta(microseconds=counts.last_used_us),
            [str(UUID(bytes=user)) for _date_us, user in counts.recent],
        )

    def on_key_set(self, key: Any, value: Any) -> NoReturn:  # noqa: ARG002 - Faust's signature
        """Refuse a write by hand."""
        raise InvariantError(f"{self.name} shows what is committed and takes no writes; got key {key!r}")

    def on_key_del(self, key: Any) -> NoReturn:
        """Refuse a deletion by hand."""
        raise InvariantError(f"{self.name} shows what is committed and takes no deletions; got key {key!r}")
