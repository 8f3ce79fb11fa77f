"""What a run found: for the terminal, as JSON, and as the table that README.md quotes."""

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from rich.table import Table

from bench.measure import Measurement
from sandbox.jars import KAFKA_VERSION

README: Final = Path(__file__).with_name("README.md")
RESULTS_FOLDER: Final = Path(__file__).with_name("results")
PACKAGES: Final = ("confluent-kafka", "pydantic", "psycopg", "faust-streaming", "aiokafka")
HEADINGS: Final = ("contender", "events/s", "ratio in the round", "start to last row, s", "its CPU, µs/event")


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

    def text(self, digits: int = 0) -> str:
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


def rows(measurements: Sequence[Measurement], baseline: str) -> list[tuple[str, ...]]:
    """Return the cells under `HEADINGS`, a row for each contender; ratios are taken within each round."""
    baseline_rates = {taken.round: taken.events_per_s for taken in measurements if taken.contender == baseline}
    cells: list[tuple[str, ...]] = []
    for name in dict.fromkeys(taken.contender for taken in measurements):
        own = [taken for taken in measurements if taken.contender == name]
        cpu = [taken.cpu_us_per_event for taken in own if taken.cpu_us_per_event is not None]
        cells.append(
            (
                name,
                _spread([taken.events_per_s for taken in own]).text(),
                _spread([taken.events_per_s / baseline_rates[taken.round] for taken in own]).text(2),
                _spread([taken.total_s for taken in own]).text(1),
                _spread(cpu).text(1) if cpu else "not measured",
            )
        )
    return cells


def to_table(result: Result, baseline: str) -> Table:
    """Return the table for the terminal."""
    table = Table(title=_size(result))
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for cells in rows(result.measurements, baseline):
        # under one another they fit into 80 columns
        table.add_row(*(cell.replace(" (", "\n(") for cell in cells))
    return table


def write(result: Result, baseline: str, name: str) -> list[Path]:
    """Write the results as JSON and into README.md; return the files written."""
    content = asdict(result) | {"measurements": [taken._asdict() for taken in result.measurements]}
    return [save(name, content), quote(name, _markdown(result, baseline))]


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


def _markdown(result: Result, baseline: str) -> str:
    lines = [HEADINGS, ("---",) + ("--:",) * (len(HEADINGS) - 1), *rows(result.measurements, baseline)]
    said = [
        f"- {_size(result)}",
        f"- {result.code_count:,} codes, {result.user_count:,} users, {result.partition_count} partitions",
        f"- machine: {result.machine}, for broker, database and contender together; load before: {result.load_before}",
        f"- versions: {', '.join(f'{name} {number}' for name, number in result.versions.items())}",
        f"- taken on {result.date} by `{result.command}`",
    ]
    return "\n".join(["", *(f"| {' | '.join(cells)} |" for cells in lines), "", *said, "", ""])


def _size(result: Result) -> str:
    return f"{result.event_count:,} events, rounds: {result.round_count}; median (least to most)"


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown processor"
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()
