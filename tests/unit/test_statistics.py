"""Statistics by columns: looked at one by one they are those that were put in."""

from factories import statistics_of
from hypothesis import given
from hypothesis import strategies as st

from worker.pipeline.statistics import NEVER_US, RECENT_MAX, Counts, Statistics, from_halves, to_halves

numbers = st.integers(0, 2**63 - 1)
uuids = st.binary(min_size=16, max_size=16)
recent_users = st.lists(st.tuples(numbers, uuids), max_size=RECENT_MAX).map(tuple)
# few codes, so that some are put in again
codes = st.integers(0, 9).map(lambda number: bytes([number]) * 16)
some_counts = st.dictionaries(codes, st.builds(Counts, numbers, st.integers(0, 2**40), numbers, recent_users))


@given(st.lists(some_counts, max_size=4))
def test_update_replaces_and_adds(updates: list[dict[bytes, Counts]]) -> None:
    """What was put in last of a code is there, in the order in which codes came first."""
    stats, expected = Statistics(), {}
    for update in updates:
        stats.update(statistics_of(update))
        expected |= update
    assert list(stats.items()) == list(expected.items())
    assert len(stats.columns.total_uses) == len(stats) == len(expected)
    assert stats.pair_count == sum(counts.unique_users for counts in expected.values())


@given(some_counts, st.lists(codes, unique=True))
def test_pick_copies_what_is_there_and_makes_the_rest(counts: dict[bytes, Counts], wanted: list[bytes]) -> None:
    """Codes that are not there were never used, and a change of what was picked is none of the original."""
    stats = statistics_of(counts)
    picked = stats.pick(wanted)
    assert picked == {code: counts.get(code, Counts(0, 0, NEVER_US, ())) for code in wanted}
    assert stats.unknown(wanted) == set(wanted) - counts.keys()
    for column in picked.columns.each:
        column[:] = 7
    assert stats == counts


@given(st.lists(uuids))
def test_halves_are_joined_as_they_were(given_uuids: list[bytes]) -> None:
    """Every byte of a UUID is kept, the higher half first, so that halves compare as their bytes do."""
    halves = to_halves(given_uuids)
    assert from_halves(halves) == given_uuids
    assert halves.tolist() == [
        [int.from_bytes(uuid[:8], "big"), int.from_bytes(uuid[8:], "big")] for uuid in given_uuids
    ]
