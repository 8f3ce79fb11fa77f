"""Counting: pure, so everything about it is compared with a counter too simple to be wrong."""

from collections.abc import Iterable
from copy import deepcopy
from typing import NamedTuple

import pytest
from factories import NOW_US, statistics_of, usage, uuid_of
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.pipeline.count import count, count_hours, find_firsts
from worker.pipeline.statistics import Counts, Statistics
from worker.pipeline.usages import Usage, Usages


def pairs_of(usages: Iterable[Usage]) -> set[bytes]:
    return {one.code + one.user for one in usages}


class Folded(NamedTuple):
    touched: Statistics
    first_uses: list[bool]


def fold(usages: list[Usage], stats: Statistics, used: set[bytes]) -> Folded:
    """Mark the first uses and count, as a run is stored."""
    first_uses = find_firsts([one.code + one.user for one in usages], used)
    return Folded(count(Usages.of(usages), first_uses, stats), first_uses)


def naive(usages: list[Usage]) -> dict[bytes, Counts]:
    """Count usages from nothing, each statistic by its words in the contract."""
    stats = {}
    for code in {one.code for one in usages}:
        uses = [one for one in usages if one.code == code]
        latest = {user: max(one.date_us for one in uses if one.user == user) for user in {one.user for one in uses}}
        recent = sorted(((date_us, user) for user, date_us in latest.items()), reverse=True)[:5]
        stats[code] = Counts(len(uses), len(latest), recent[0][0], tuple(recent))
    return stats


def naive_first_uses(usages: list[Usage], used: set[bytes]) -> list[bool]:
    return [one.code + one.user not in used | pairs_of(usages[:place]) for place, one in enumerate(usages)]


# users whose UUIDs differ in either half
users = st.builds(lambda high, low: (high << 64) + low, st.integers(0, 2), st.integers(0, 2))
# few codes, users and dates, so that repeats and ties are the rule
usages_lists = st.lists(st.tuples(st.integers(1, 3), users, st.integers(0, 6)), max_size=60).map(
    lambda rows: [
        usage(number, code=code, user=user, date_us=NOW_US + date) for number, (code, user, date) in enumerate(rows)
    ]
)


@given(usages_lists)
def test_count_from_nothing_equals_a_naive_count(usages):
    """Counting a whole history gives what its definition gives, and one first use for each pair."""
    counted = fold(usages, Statistics(), set())
    assert counted.touched == naive(usages)
    assert counted.first_uses == naive_first_uses(usages, set())


@settings(max_examples=200)
@given(usages_lists, st.data())
def test_count_in_parts_equals_count_at_once(usages, data):
    """Counting a run in any number of parts, each on what the ones before have committed, equals counting it in one."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(usages)), max_size=4)))
    stats = Statistics()
    first_uses: list[bool] = []
    for start, end in zip([0, *cuts], [*cuts, len(usages)], strict=True):
        counted = fold(usages[start:end], stats, pairs_of(usages[:start]))
        stats.update(counted.touched)
        first_uses += counted.first_uses
    whole = fold(usages, Statistics(), set())
    assert stats == whole.touched
    assert first_uses == whole.first_uses


@given(usages_lists, usages_lists)
def test_count_touches_only_codes_of_the_run(before, usages):
    """What a run returns is of its own codes, and the statistics it was given stay as they were."""
    stats = statistics_of(naive(before))
    kept = deepcopy(stats)
    counted = fold(usages, stats, pairs_of(before))
    assert set(counted.touched) == {one.code for one in usages}
    assert stats == kept
    assert counted.touched == {
        code: counts for code, counts in naive(before + usages).items() if code in counted.touched
    }


@given(usages_lists, st.randoms(use_true_random=False))
def test_count_does_not_depend_on_the_order(usages, chance):
    """Statistics are those of the set of usages, in whatever order they arrive."""
    shuffled = usages.copy()
    chance.shuffle(shuffled)
    assert fold(shuffled, Statistics(), set()).touched == fold(usages, Statistics(), set()).touched


def test_count_orders_recent_users_by_date_then_uuid():
    """The latest user comes first; of users with one date the greater UUID does."""
    usages = [
        usage(1, user=2, date_us=NOW_US),
        usage(2, user=3, date_us=NOW_US),
        usage(3, user=1, date_us=NOW_US + 1),
        usage(4, user=4, date_us=NOW_US - 1),
    ]
    (counts,) = fold(usages, Statistics(), set()).touched.values()
    assert [user for _, user in counts.recent] == [uuid_of(number).bytes for number in (1, 3, 2, 4)]


def test_count_keeps_the_five_greatest_when_dates_are_equal():
    """Of six users with one date the five greatest UUIDs are recent, in whatever order they came."""
    usages = [usage(number, user=number) for number in (3, 6, 1, 5, 2, 4)]
    (counts,) = fold(usages, Statistics(), set()).touched.values()
    assert [user for _, user in counts.recent] == [uuid_of(number).bytes for number in (6, 5, 4, 3, 2)]
    assert counts.unique_users == 6


def test_count_names_a_user_once_with_the_latest_date():
    """A user who comes again moves up with a later date, and stays with an earlier one."""
    usages = [
        usage(1, user=1, date_us=NOW_US),
        usage(2, user=2, date_us=NOW_US + 1),
        usage(3, user=1, date_us=NOW_US + 2),
        usage(4, user=2, date_us=NOW_US - 5),
    ]
    (counts,) = fold(usages, Statistics(), set()).touched.values()
    recent = ((NOW_US + 2, uuid_of(1).bytes), (NOW_US + 1, uuid_of(2).bytes))
    assert counts == Counts(4, 2, NOW_US + 2, recent)


def test_count_keeps_last_used_when_a_late_usage_is_older():
    """An event that arrives late, dated earlier, counts but is not the latest."""
    before = statistics_of(naive([usage(1, date_us=NOW_US)]))
    (counts,) = fold([usage(2, user=2, date_us=NOW_US - 10)], before, set()).touched.values()
    assert (counts.total_uses, counts.last_used_us) == (2, NOW_US)


@pytest.mark.parametrize(
    ("used", "expected"),
    [(set(), [True, False, True]), ({uuid_of(1).bytes + uuid_of(1).bytes}, [False, False, True])],
    ids=["new pair", "used before"],
)
def test_count_marks_first_uses_within_a_run(used, expected):
    """The first usage of a pair is a first use unless a stored one has it; a repeat within the run never is."""
    usages = [usage(1, user=1), usage(2, user=1), usage(3, user=2)]
    kept = set(used)
    counted = fold(usages, Statistics(), used)
    assert counted.first_uses == expected
    (counts,) = counted.touched.values()
    assert counts.unique_users == sum(expected)
    assert used == kept


def test_count_tells_pairs_apart_by_code():
    """A user's first use of another code is a first use."""
    assert fold([usage(1, code=1), usage(2, code=2)], Statistics(), set()).first_uses == [True, True]


def test_count_of_nothing_touches_nothing():
    """No usages, nothing touched."""
    assert fold([], statistics_of(naive([usage(1)])), set()) == ({}, [])


def test_hours_are_those_of_the_dates_used() -> None:
    """Uses and first uses are counted in the hour of their date, and an hour's last microsecond belongs to it."""
    hour_us = 3_600_000_000
    dates_us = [0, hour_us - 1, hour_us, 5 * hour_us + 7]
    firsts = [True, False, True, False]
    assert count_hours(dates_us, firsts) == {0: (2, 1), 1: (1, 1), 5: (1, 0)}
    assert count_hours([], []) == {}
