"""Recent users as packed bytes: what goes in comes out."""

from hypothesis import given
from hypothesis import strategies as st

from worker.pipeline.recent import RECENT_MAX, pack, put_first, unpack

dates = st.integers(0, 253_402_300_799_999_999)  # from 1970 to 9999, on both sides of PostgreSQL's epoch
entries = st.tuples(dates, st.binary(min_size=16, max_size=16))
recents = st.lists(entries, max_size=RECENT_MAX)


@given(recents)
def test_packed_is_unpacked_as_it_was(recent: list[tuple[int, bytes]]) -> None:
    """Every user, every microsecond and their order are kept."""
    assert unpack(*pack(recent)) == recent


@given(entries, recents)
def test_put_first_is_packing_anew(entry: tuple[int, bytes], recent: list[tuple[int, bytes]]) -> None:
    """Another user in front pushes out the last of five, and nobody else."""
    assert put_first(*entry, *pack(recent)) == pack([entry, *recent][:RECENT_MAX])
