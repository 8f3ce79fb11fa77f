"""What the parts found, as tables and as charts."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, Protocol, TypeVar

from bench.chart import Bar, Line, draw_bars, draw_lines
from bench.growth.codes import CodesDrain
from bench.growth.draining import CpuPerEvent, Drained
from bench.growth.loading import Start
from bench.growth.memory import Memory
from bench.growth.rows import FILLED, FILLING, FILTERS, NO_FILTER, RowsDrain
from bench.report import Spread

CPU_HEADINGS: Final = tuple(f"{process}, µs/event" for process in CpuPerEvent._fields)
MB: Final = 1_000_000

Key = TypeVar("Key", bound=Hashable)
Taken = TypeVar("Taken")


class InRound(Protocol):
    """A drain that ran in turns with others."""

    round: int
    drained: Drained


class Cells(NamedTuple):
    """Rows under headings, and what is said below them."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def tabulate_rows(drains: Sequence[RowsDrain]) -> Cells:
    """Return a row for each length of history and state of the filters; ratios are to an empty table in the round."""
    empty = [each for each in drains if not each.row_count]
    rows = [
        (f"{row_count:,}", FILTERS[place], *_drain_cells(own, empty))
        for (row_count, place), own in _groups(drains, _rows_key).items()
    ]
    return Cells(
        ("rows stored", "filters", "events/s", "ratio in the round", *CPU_HEADINGS), rows, _filling_notes(drains)
    )


def draw_rows(drains: Sequence[RowsDrain]) -> list[Path]:
    """Draw rates over rows, a line for each state of the filters, and what an event costs while they are filled."""
    lines = []
    for state in FILTERS:
        own = [each for each in drains if each.pair_filter == state]
        lines.append(_rate_line(f"filters {state}", _groups(own, lambda each: each.row_count)))
    filled = _groups([each for each in drains if each.pair_filter == FILLED], lambda each: each.row_count)
    x_label = "rows stored before"
    return [
        draw_lines("growth-rows", "Throughput against rows", lines, x_label=x_label, y_label="events/s"),
        draw_lines("growth-rows-cpu", "CPU against rows", _cpu_lines(filled), x_label=x_label, y_label="µs/event"),
    ]


def tabulate_codes(drains: Sequence[CodesDrain]) -> Cells:
    """Return a row for each number of codes; ratios are to the least codes in the round."""
    found = _groups(drains, lambda each: each.code_count)
    fewest = found[min(found)]
    rows = [(f"{code_count:,}", *_drain_cells(own, fewest)) for code_count, own in found.items()]
    return Cells(("codes", "events/s", "ratio in the round", *CPU_HEADINGS), rows)


def draw_codes(drains: Sequence[CodesDrain]) -> list[Path]:
    """Draw rates over codes, and what an event costs."""
    found = _groups(drains, lambda each: each.code_count)
    rates, cpu = [_rate_line("", found)], _cpu_lines(found)
    return [
        draw_lines(
            "growth-codes", "Throughput against codes", rates, x_label="codes", y_label="events/s", is_x_log=True
        ),
        draw_lines("growth-codes-cpu", "CPU against codes", cpu, x_label="codes", y_label="µs/event", is_x_log=True),
    ]


def tabulate_loading(starts: Sequence[Start]) -> Cells:
    """Return a row for each number of codes."""
    rows = [
        (
            f"{code_count:,}",
            Spread.of([each.load_s for each in own]).text(2),
            Spread.of([each.code_count / each.load_s for each in own]).text(0),
            Spread.of([each.first_event_s for each in own]).text(1),
        )
        for code_count, own in _starts(starts).items()
    ]
    return Cells(("codes", "loaded in, s", "codes/s", "start to first event, s"), rows)


def draw_loading(starts: Sequence[Start]) -> list[Path]:
    """Draw seconds over codes."""
    found = _starts(starts)
    lines = [
        _line("the partition's table is loaded", found, lambda each: each.load_s),
        _line("from the start to the first event", found, lambda each: each.first_event_s),
    ]
    return [draw_lines("growth-loading", "Starting a worker", lines, x_label="codes", y_label="seconds", is_x_log=True)]


def tabulate_memory(taken: Sequence[Memory]) -> Cells:
    """Return a row for each size."""
    rows = [
        (f"{each.code_count:,}", f"{each.pair_count:,}", f"{each.peak_bytes / MB:,.0f}", f"{each.filling_s:,.1f}")
        for each in taken
    ]
    return Cells(("codes", "pairs", "peak memory, MB", "filters filled in, s"), rows)


def draw_memory(taken: Sequence[Memory]) -> list[Path]:
    """Draw a bar for each size."""
    bars = [
        Bar(f"{each.code_count:,} codes, {each.pair_count / 1e6:,.1f} million pairs", *[each.peak_bytes / MB] * 3, True)
        for each in taken
    ]
    return [draw_bars("growth-memory", "Peak memory of a worker, MB", bars)]


def _rows_key(drain: RowsDrain) -> tuple[int, int]:
    return drain.row_count, FILTERS.index(drain.pair_filter)


def _filling_notes(drains: Sequence[RowsDrain]) -> list[str]:
    """Say what filling takes away: compared with a worker that looks up every pair too, and fills no filter."""
    notes = []
    for row_count, own in _groups(drains, lambda each: each.row_count).items():
        alone = [each for each in own if each.pair_filter == NO_FILTER]
        ratios = _ratios([each for each in own if each.pair_filter == FILLING], alone)
        if ratios:
            text = Spread.of(ratios).text(2)
            notes.append(
                f"{row_count:,} rows: while filters are filled, the rate is {text} of that of a worker without"
            )
    return notes


def _starts(starts: Iterable[Start]) -> dict[int, list[Start]]:
    return _groups(starts, lambda each: each.stored_code_count)


def _groups(taken: Iterable[Taken], key: Callable[[Taken], Key]) -> dict[Key, list[Taken]]:
    return {value: list(own) for value, own in groupby(sorted(taken, key=key), key)}


def _drain_cells(own: Sequence[InRound], baseline: Sequence[InRound]) -> list[str]:
    """Return rate, ratio in the round, and what an event costs."""
    rates = Spread.of([each.drained.events_per_s for each in own])
    ratios = Spread.of(_ratios(own, baseline))
    return [rates.text(0), ratios.text(2), *(f"{cost:.1f}" for cost in _cpu_us(own))]


def _ratios(own: Iterable[InRound], baseline: Iterable[InRound]) -> list[float]:
    baseline_rates = {each.round: each.drained.events_per_s for each in baseline}
    return [each.drained.events_per_s / baseline_rates[each.round] for each in own]


def _cpu_us(own: Sequence[InRound]) -> CpuPerEvent:
    return CpuPerEvent(*map(median, zip(*(each.drained.cpu_us for each in own), strict=True)))


def _rate_line(label: str, found: Mapping[int, Sequence[InRound]]) -> Line:
    return _line(label, found, lambda each: each.drained.events_per_s)


def _cpu_lines(found: Mapping[int, Sequence[InRound]]) -> list[Line]:
    costs = [_cpu_us(own) for own in found.values()]
    return [
        Line(process, list(found), [cost[place] for cost in costs]) for place, process in enumerate(CpuPerEvent._fields)
    ]


def _line(label: str, found: Mapping[int, Sequence[Taken]], value: Callable[[Taken], float]) -> Line:
    spreads = [Spread.of([value(each) for each in own]) for own in found.values()]
    return Line(label, list(found), [each.median for each in spreads], [(each.least, each.most) for each in spreads])
