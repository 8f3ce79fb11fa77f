"""What a run found: for the terminal, as JSON, as a chart, and as the table that README.md quotes."""

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, Protocol

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.chart import RESULTS_FOLDER, Bar, draw_bars
from bench.contenders.roster import BASELINE, WORKER
from bench.measure import CpuPerEvent, Measurement
from sandbox.jars import KAFKA_VERSION

README: Final = Path(__file__).with_name("README.md")
PACKAGES: Final = ("confluent-kafka", "pydantic", "psycopg", "faust-streaming", "aiokafka", "numpy")
HEADINGS: Final = (
    "contender",
    "events/s",
    f"÷ {BASELINE.name}",
    f"{WORKER.name} ÷ it",
    "start to last row, s",
    "CPU, µs/event: its own + database + broker",
)
NOTHING: Final = "-"
CHART_TITLE: Final = "events stored per second: median, least and most"


class Taken(Protocol):
    """How figures were taken; `load_before` is the mean of processes running or waiting in the minute before."""

    date: str
    command: str
    machine: str
    load_before: float
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """
    All of a run.

    Args:
        load_before: mean of processes running or waiting in the minute before: what others took away.
    """

    date: str
    command: str
    event_count: int
    code_count: int
    user_count: int
    partition_count: int
    round_count: int
    machine: str
    load_before: float
    versions: dict[str, str]
    measurements: list[Measurement]


class Spread(NamedTuple):
    """A figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return that of some values, one at least."""
        return cls(median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        """Return the median, and least and most in parentheses where they differ."""
        middle, least, most = (f"{value:,.{digits}f}" for value in self)
        return middle if least == most else f"{middle} ({least} to {most})"


def machine() -> str:
    """Return the processor, its cores, the memory and the system, but no name of the machine."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}"


def versions(postgres_version: str) -> dict[str, str]:
    """Return the versions of everything that has a part in the figures."""
    servers = {"Python": platform.python_version(), "PostgreSQL": postgres_version, "Kafka": KAFKA_VERSION}
    return servers | {name: version(name) for name in PACKAGES}


def rows(measurements: Sequence[Measurement]) -> list[tuple[str, ...]]:
    """Return the cells under `HEADINGS`, a row for each contender; ratios are taken within each round."""
    cells: list[tuple[str, ...]] = []
    for name, own in _by_contender(measurements).items():
        cells.append(
            (
                name,
                _text([taken.events_per_s for taken in own], 0),
                _text(_ratios(measurements, name, BASELINE.name), 2),
                _text(_ratios(measurements, WORKER.name, name), 2),
                _text([taken.total_s for taken in own], 1),
                _cpu_text([taken.cpu_us for taken in own if taken.cpu_us is not None]),
            )
        )
    return cells


def to_table(result: Result) -> Table:
    """Return the table for the terminal."""
    # under one another they fit into 80 columns
    cells = [[cell.replace(" (", "\n(") for cell in row] for row in rows(result.measurements)]
    return make_table(_size(result), HEADINGS, cells)


def make_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table for the terminal, text in its first column and figures in the others."""
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    for cells in rows:
        table.add_row(*cells)
    return table


def write(result: Result, name: str) -> list[Path]:
    """Write the results as JSON, as a chart and into README.md; return the files written."""
    content = asdict(result) | {"measurements": [_as_dict(taken) for taken in result.measurements]}
    return [save(name, content), _draw(result, name), quote(name, _markdown(result, name))]


def save(name: str, content: Mapping[str, object]) -> Path:
    """Write what a run found as results/`name`.json and return its path."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    target = RESULTS_FOLDER / f"{name}.json"
    target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return target


def quote(name: str, markdown: str) -> Path:
    """Write Markdown into README.md, between the markers of this name, and return its path."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    marked = re.compile(f"(?<={re.escape(begin)}\n).*(?={re.escape(end)})", re.DOTALL)
    text = README.read_text(encoding="utf-8")
    README.write_text(marked.sub(lambda _: markdown, text), encoding="utf-8")
    return README


def to_markdown(headings: Sequence[str], rows: Iterable[Sequence[str]], said: Sequence[str]) -> str:
    """Return what `quote` takes: a table, text in its first column and figures in the others, and lines below it."""
    lines = [headings, ["---"] + ["--:"] * (len(headings) - 1), *rows]
    return "\n".join(["", *(f"| {' | '.join(cells)} |" for cells in lines), "", *said, "", ""])


def circumstances(taken: Taken, shared_by: str) -> list[str]:
    """Return the lines below a table that say where, with what, when and how its figures were taken."""
    numbers = ", ".join(f"{name} {number}" for name, number in taken.versions.items())
    return [
        f"- machine: {taken.machine}, for {shared_by}; load before: {taken.load_before}",
        f"- versions: {numbers}",
        f"- taken on {taken.date} by `{taken.command}`",
    ]


def _as_dict(taken: Measurement) -> dict[str, object]:
    return taken._asdict() | {"cpu_us": taken.cpu_us and taken.cpu_us._asdict()}


def _ratios(measurements: Sequence[Measurement], of: str, to: str) -> list[float]:
    rates = {(taken.contender, taken.round): taken.events_per_s for taken in measurements}
    rounds = [number for name, number in rates if name == of and (to, number) in rates]
    return [rates[of, number] / rates[to, number] for number in rounds]


def _text(values: Sequence[float], digits: int) -> str:
    return Spread.of(values).text(digits) if values else NOTHING


def _cpu_text(used: Sequence[CpuPerEvent]) -> str:
    return " + ".join(f"{median(each):,.1f}" for each in zip(*used, strict=True)) or NOTHING


def _draw(result: Result, name: str) -> Path:
    bars = [
        Bar(contender, *Spread.of([taken.events_per_s for taken in own]), is_own=contender == WORKER.name)
        for contender, own in _by_contender(result.measurements).items()
    ]
    return draw_bars(name, CHART_TITLE, bars)


def _markdown(result: Result, chart_name: str) -> str:
    counts = {taken.contender: taken.event_count for taken in result.measurements}
    said = [
        f"- {_size(result)}",
        *(f"- {name}: the first {count:,} of them" for name, count in counts.items() if count < result.event_count),
        f"- {result.code_count:,} codes, {result.user_count:,} users, {result.partition_count} partitions",
        *circumstances(result, "broker, database and contender together"),
    ]
    chart = f"![{CHART_TITLE}](results/{chart_name}.svg)"
    return f"\n{chart}\n{to_markdown(HEADINGS, rows(result.measurements), said)}"


def _by_contender(measurements: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    names = dict.fromkeys(taken.contender for taken in measurements)
    return {name: [taken for taken in measurements if taken.contender == name] for name in names}


def _size(result: Result) -> str:
    return f"{result.event_count:,} events, rounds: {result.round_count}; median (least to most)"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown processor"
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()
