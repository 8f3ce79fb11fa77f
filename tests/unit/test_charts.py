"""Numbers made into charts: bars as high as their numbers, axes that read well."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.stats import TimelineBucket
from worker.web.charts import HEIGHT, draw

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def buckets(uses, width=DAY, start=START):
    return [TimelineBucket(start=start + n * width, uses=count, first_uses=count // 2) for n, count in enumerate(uses)]


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200))
def test_bars_are_as_high_as_their_numbers(uses):
    """Every bar stands within the chart, as high as its share of the axis, its first uses within it."""
    chart = draw(buckets(uses), DAY)
    top = chart.numbers[0]
    assert [bar.uses for bar in chart.bars] == uses
    for bar in chart.bars:
        assert 0 <= bar.y <= bar.first_y <= HEIGHT
        assert HEIGHT - bar.y == pytest.approx(HEIGHT * bar.uses / top, abs=0.06)
        assert 0 <= bar.x < 100
    assert (chart.uses, chart.peak.uses) == (sum(uses), max(uses))


@given(st.integers(0, 10**9))
def test_number_axis_is_round_even_and_reaches_the_top(most):
    """The axis goes from 0 in at most four even steps of 1, 2 or 5 times a power of ten to the greatest number."""
    numbers = draw(buckets([most]), DAY).numbers
    step = numbers[0] - numbers[1]
    assert numbers == list(range(numbers[0], -1, -step))
    assert numbers[0] >= most > numbers[0] - step or most == 0
    assert len(numbers) <= 5
    assert str(step).rstrip("0") in {"1", "2", "5"}


@given(st.integers(1, 200), st.sampled_from([HOUR, DAY, 7 * DAY, 28 * DAY, 364 * DAY]), st.integers(0, 23))
def test_time_axis_has_few_labels_that_stay_within(count, width, hour):
    """However many bars there are, a handful of labels names them, and none hangs over a side."""
    ticks = draw(buckets([1] * count, width, START + hour * HOUR if width == HOUR else START), width).times
    assert len(ticks) <= 8
    assert ticks or count < 24
    for tick in ticks:
        assert tick.anchor == "start" or tick.x >= 8
        assert tick.anchor == "end" or tick.x <= 92


def test_hours_are_labelled_as_clocks_count_them():
    """Labels of hours stand at even hours, and midnight is named by its day."""
    chart = draw(buckets([1] * 24, HOUR, START + 13 * HOUR), HOUR)
    assert [tick.text for tick in chart.times] == ["18:00", "2 Mar", "06:00", "12:00"]


@pytest.mark.parametrize(("width", "name"), [(HOUR, "hour"), (DAY, "day"), (7 * DAY, "7 days")])
def test_chart_names_its_bucket(width, name):
    """A chart says what one bar counts."""
    assert draw(buckets([1, 2], width), width).bucket == name
