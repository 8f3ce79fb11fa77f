"""Usages ready to be stored, by columns: a pass over the objects of a run costs more than what is done with them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, NamedTuple, overload


class Usage(NamedTuple):
    """A usage ready to be stored; the UUIDs are 16 bytes each, the date is microseconds since 1970."""

    uuid: bytes
    code: bytes
    user: bytes
    date_us: int
    offset: int


@dataclass(slots=True)
class Usages(Sequence[Usage]):
    """A sequence of usages: each field of `Usage` is a list, and they are of one length."""

    uuids: list[bytes] = field(default_factory=list)
    codes: list[bytes] = field(default_factory=list)
    users: list[bytes] = field(default_factory=list)
    dates_us: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, usages: Iterable[Usage]) -> "Usages":
        """Return usages given one by one."""
        return cls(*map(list, zip(*usages, strict=True)))

    def extend(self, usages: "Usages") -> None:
        """Append usages."""
        self.uuids += usages.uuids
        self.codes += usages.codes
        self.users += usages.users
        self.dates_us += usages.dates_us
        self.offsets += usages.offsets

    def pick(self, chosen: Sequence[bool]) -> "Usages":
        """Return the chosen ones; these if all are. `chosen` has one for each usage."""
        return self if all(chosen) else self._each(lambda column: list(compress(column, chosen)))

    def __len__(self) -> int:
        return len(self.uuids)

    def __iter__(self) -> Iterator[Usage]:
        return map(Usage, self.uuids, self.codes, self.users, self.dates_us, self.offsets)

    @overload
    def __getitem__(self, place: int) -> Usage: ...

    @overload
    def __getitem__(self, place: slice) -> "Usages": ...

    def __getitem__(self, place: int | slice) -> "Usage | Usages":
        if isinstance(place, slice):
            return self._each(lambda column: column[place])
        return Usage(self.uuids[place], self.codes[place], self.users[place], self.dates_us[place], self.offsets[place])

    def _each(self, change: Callable[[list[Any]], list[Any]]) -> "Usages":
        columns: tuple[list[Any], ...] = (self.uuids, self.codes, self.users, self.dates_us, self.offsets)
        return Usages(*map(change, columns))
