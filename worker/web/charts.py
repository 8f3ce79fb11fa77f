"""Charts: numbers by bucket made into bars, ticks and words; templates write them as SVG. Knows no HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from schemas.stats import TimelineBucket

HEIGHT: Final = 160
"""Of the bars, in pixels. Widths are percent, so that a chart is as wide as its place and its text stays as large."""

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_Y_STEPS_MAX: Final = 4
_X_TICKS_MAX: Final = 7
_GAP: Final = 0.2  # of a bucket, between its bar and the next
_X_STEPS: Final = (*(_HOUR * hours for hours in (1, 2, 3, 6, 12)), *(_DAY * days for days in (1, 2, 5, 7, 14, 28)))
# a label nearer to a side than this begins or ends there instead of being centred
_SIDE_PERCENT: Final = 8
_YEARS_SPAN: Final = timedelta(days=300)


@dataclass(frozen=True)
class Bar:
    """One bucket: the bar of its uses, whose lower part are its first uses."""

    start: datetime
    uses: int
    first_uses: int
    x: float
    y: float
    first_y: float


@dataclass(frozen=True)
class Tick:
    """A label of the time axis; a minor one is left out where space is small."""

    x: float
    text: str
    anchor: str
    is_minor: bool


@dataclass(frozen=True)
class Chart:
    """A chart of uses over time."""

    bars: list[Bar]
    slot: float
    bar_width: float
    times: list[Tick]
    numbers: list[int]
    uses: int
    first_uses: int
    peak: Bar
    bucket: str
    has_hours: bool


def draw(buckets: Sequence[TimelineBucket], width: timedelta) -> Chart:
    """
    Return the chart of uses over time.

    Args:
        buckets: at least one, without gaps, earliest first.
        width: of a bucket.
    """
    step, top = _scale(max(bucket.uses for bucket in buckets))
    slot = 100 / len(buckets)
    bars = [
        Bar(
            start=bucket.start,
            uses=bucket.uses,
            first_uses=bucket.first_uses,
            x=round(number * slot, 3),
            y=round(HEIGHT * (1 - bucket.uses / top), 1),
            first_y=round(HEIGHT * (1 - bucket.first_uses / top), 1),
        )
        for number, bucket in enumerate(buckets)
    ]
    return Chart(
        bars=bars,
        slot=round(slot, 3),
        bar_width=round(slot * (1 - _GAP), 3),
        times=_times([bucket.start for bucket in buckets], width, slot),
        numbers=list(range(top, -1, -step)),
        uses=sum(bucket.uses for bucket in buckets),
        first_uses=sum(bucket.first_uses for bucket in buckets),
        peak=max(bars, key=lambda bar: bar.uses),
        bucket=_name(width),
        has_hours=width < _DAY,
    )


def _scale(most: int) -> tuple[int, int]:
    """Return step and end of an axis from 0: steps of 1, 2 or 5 times a power of ten, whole and few."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            count = -(-most // step)
            if count <= _Y_STEPS_MAX:
                return step, step * max(count, 1)
        power *= 10


def _times(starts: Sequence[datetime], width: timedelta, slot: float) -> list[Tick]:
    step = next(
        (step for step in _X_STEPS if step >= width and step % width == timedelta() and _is_few(starts, step)), None
    )
    # hours are named as clocks count them, days from the first one shown
    if step is not None and step <= _DAY and width < _DAY:
        named = [number for number, start in enumerate(starts) if _since_midnight(start) % step == timedelta()]
    else:
        every = max(1, -(-len(starts) // _X_TICKS_MAX)) if step is None else step // width
        named = list(range(0, len(starts), every))
    is_long = starts[-1] - starts[0] > _YEARS_SPAN
    return [
        Tick(
            x=(x := round((number + 0.5) * slot, 3)),
            text=_tick_text(starts[number], is_long=is_long),
            anchor="start" if x < _SIDE_PERCENT else "end" if x > 100 - _SIDE_PERCENT else "middle",
            is_minor=place % 2 == 1,
        )
        for place, number in enumerate(named)
    ]


def _is_few(starts: Sequence[datetime], step: timedelta) -> bool:
    return (starts[-1] - starts[0]) / step < _X_TICKS_MAX


def _since_midnight(date: datetime) -> timedelta:
    return date - date.replace(hour=0, minute=0, second=0, microsecond=0)


def _tick_text(date: datetime, *, is_long: bool) -> str:
    if is_long:
        return date.strftime("%b %Y")
    if _since_midnight(date):
        return date.strftime("%H:%M")
    return f"{date.day} {date:%b}"


def _name(width: timedelta) -> str:
    if width == _HOUR:
        return "hour"
    return "day" if width == _DAY else f"{width // _DAY} days"
