"""Usages by columns: whatever is done with them, they are the sequence that they were made of."""

from itertools import compress

from hypothesis import given
from hypothesis import strategies as st

from worker.pipeline.usages import Usage, Usages

ids = st.binary(min_size=16, max_size=16)
usages_lists = st.lists(st.builds(Usage, ids, ids, ids, st.integers(0, 2**50), st.integers(0, 2**63 - 1)), max_size=8)


@given(usages_lists, st.data())
def test_usages_are_a_sequence(given_usages: list[Usage], data: st.DataObject) -> None:
    """Length, iteration, places and slices are those of a list."""
    usages = Usages.of(given_usages)
    assert len(usages) == len(given_usages)
    assert list(usages) == given_usages
    assert [usages[place] for place in range(len(given_usages))] == given_usages
    cut = data.draw(st.slices(len(given_usages)))
    assert list(usages[cut]) == given_usages[cut]


@given(usages_lists, st.data())
def test_pick_keeps_the_chosen_ones(given_usages: list[Usage], data: st.DataObject) -> None:
    """What is not chosen is gone from every column, and what it was picked from stays as it was."""
    size = len(given_usages)
    chosen = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    usages = Usages.of(given_usages)
    assert list(usages.pick(chosen)) == list(compress(given_usages, chosen))
    assert list(usages) == given_usages


@given(usages_lists, usages_lists)
def test_extend_appends(first: list[Usage], second: list[Usage]) -> None:
    """Appended usages come behind the others."""
    usages = Usages.of(first)
    usages.extend(Usages.of(second))
    assert list(usages) == first + second
