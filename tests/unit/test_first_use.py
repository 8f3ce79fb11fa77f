"""The filter of a partition's pairs: it may doubt a new pair, but never forgets a used one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.pipeline.first_use import PairFilter

MAX_BYTES = 10_000_000


def pairs(start: int, count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(start, start + count)]


def test_pairs_fed_are_possibly_used_and_nearly_all_others_certainly_new() -> None:
    """A filter of an empty partition holds whatever is fed, and doubts about one in a hundred of the rest."""
    pair_filter = PairFilter(0, MAX_BYTES)
    fed, others = pairs(0, 50_000), pairs(50_000, 50_000)
    pair_filter.feed(fed)
    assert pair_filter.possibly_used(fed) == fed
    assert len(pair_filter.possibly_used(others)) < 1000


def test_every_pair_is_possibly_used_until_the_scan_is_finished() -> None:
    """A partition with stored usages has no filter before all of them were put in, and then the runs' pairs as well."""
    stored, fed, others = pairs(0, 1000), pairs(1000, 1000), pairs(2000, 1000)
    pair_filter = PairFilter(1000, MAX_BYTES)
    pair_filter.fill(stored[:500])
    pair_filter.feed(fed)
    assert pair_filter.possibly_used(others) == others
    pair_filter.fill(stored[500:])
    pair_filter.finish()
    assert pair_filter.possibly_used(stored + fed) == stored + fed
    assert len(pair_filter.possibly_used(others)) < 100


def test_filter_goes_on_while_a_larger_one_is_filled() -> None:
    """A filter that is full asks for a scan, answers meanwhile, and is followed by one that is sharp again."""
    pair_filter = PairFilter(0, MAX_BYTES)
    first, second, others = pairs(0, 100_000), pairs(100_000, 200_000), pairs(300_000, 50_000)
    pair_filter.feed(first)
    assert not pair_filter.is_filling
    pair_filter.feed(second)
    assert pair_filter.is_filling
    assert pair_filter.possibly_used(first + second) == first + second
    doubted = len(pair_filter.possibly_used(others))
    pair_filter.fill(first + second)
    pair_filter.finish()
    assert not pair_filter.is_filling
    assert pair_filter.possibly_used(first + second) == first + second
    assert len(pair_filter.possibly_used(others)) < min(doubted, 1000)


@pytest.mark.parametrize("stored_count", [0, 1000])
def test_filter_that_is_too_large_is_not_made(stored_count: int) -> None:
    """Without the memory for it every pair is looked up, and no scan is asked for."""
    pair_filter = PairFilter(stored_count, 1000)
    asked = pairs(0, 10)
    assert (pair_filter.is_filling, pair_filter.size_bytes) == (False, 0)
    pair_filter.feed(pairs(10, 10))
    assert pair_filter.possibly_used(asked) == asked


# up to 60,000 pairs a step: on a loaded machine that takes any time, and speed is not what this tests
@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["feed", "fill", "finish"]), st.integers(0, 5), st.integers(0, 60_000))))
def test_no_pair_fed_is_ever_certainly_new(steps: list[tuple[str, int, int]]) -> None:
    """In whatever order a filter is fed, outgrown and replaced, it doubts every pair that was fed."""
    pair_filter = PairFilter(0, MAX_BYTES)
    fed: list[bytes] = []
    for kind, start, count in steps:
        if kind == "feed":
            new = pairs(len(fed), count)
            pair_filter.feed(new)
            fed += new
        elif pair_filter.is_filling and kind == "finish":
            pair_filter.fill(fed)
            pair_filter.finish()
        elif kind == "fill":
            pair_filter.fill(fed[start:count])
    assert pair_filter.possibly_used(fed) == fed
