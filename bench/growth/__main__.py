"""
How cost grows: throughput against rows and codes, the time to load a table, memory.

`python -m bench.growth --help` says what can be asked of it; ../README.md says what the figures mean.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console

from bench.command import attempt
from bench.growth import codes, loading, memory, rows
from bench.growth.report import (
    Cells,
    draw_codes,
    draw_loading,
    draw_memory,
    draw_rows,
    tabulate_codes,
    tabulate_loading,
    tabulate_memory,
    tabulate_rows,
)
from bench.growth.subject import Say
from bench.report import RESULTS_FOLDER, circumstances, machine, make_table, quote, save, to_markdown, versions
from bench.services import Services, running_services
from sandbox.interrupts import Interrupts

NAME: Final = "growth"
# as an operator sets PostgreSQL for millions of rows: as it comes, it has 128 MB for pages, and after each GB of WAL a
# checkpoint, after which the first change of every page writes all of it to the WAL once more
POSTGRES_SETTINGS: Final = {"shared_buffers": "4GB", "max_wal_size": "32GB", "checkpoint_timeout": "1h"}


class Part(NamedTuple):
    """
    One thing that grows.

    Args:
        whole, quick: how much is measured.
        measure: takes services, plan and who is told what is under way; returns named tuples.
        draw: writes the charts and returns their files.
    """

    title: str
    whole: Any
    quick: Any
    measure: Callable[[Services, Any, Say], Sequence[Any]]
    tabulate: Callable[[Any], Cells]
    draw: Callable[[Any], list[Path]]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person can ask of a run."""

    names: Sequence[str]
    is_quick: bool
    is_written: bool


@dataclass(frozen=True, slots=True)
class About:
    """How a part was taken."""

    date: str
    command: str
    machine: str
    load_before: float
    versions: dict[str, str]


PARTS: Final = {
    "rows": Part(
        "throughput against rows stored",
        rows.Plan((5_000_000, 20_000_000), 200_000, 3),
        rows.Plan((200_000, 1_000_000), 50_000, 1),
        rows.measure_rows,
        tabulate_rows,
        draw_rows,
    ),
    "codes": Part(
        "throughput against codes",
        codes.Plan((1_000, 10_000, 100_000, 1_000_000), 300_000, 3),
        codes.Plan((1_000, 10_000, 100_000), 100_000, 1),
        codes.measure_codes,
        tabulate_codes,
        draw_codes,
    ),
    "loading": Part(
        "starting over a partition's table",
        loading.Plan((1_000, 10_000, 100_000, 1_000_000), 3),
        loading.Plan((1_000, 100_000), 1),
        loading.measure_loading,
        tabulate_loading,
        draw_loading,
    ),
    "memory": Part(
        "memory of one worker",
        memory.Plan(((1_000, 1_000_000), (1_000, 5_000_000), (100_000, 1_000_000), (100_000, 5_000_000)), 100_000),
        memory.Plan(((1_000, 100_000), (100_000, 500_000)), 50_000),
        memory.measure_memory,
        tabulate_memory,
        draw_memory,
    ),
}


def run(options: Options, console: Console, interrupts: Interrupts) -> None:
    """
    Measure parts, one after the other, and print each when it is done; nothing that was started runs afterwards.

    Raises:
        SandboxError: a server or a worker failed, or a worker did not store what it should.
    """
    with running_services(POSTGRES_SETTINGS) as services:
        try:
            for name in options.names:
                _take_part(name, options, services, console)
        finally:
            interrupts.begin_stop()


def _take_part(name: str, options: Options, services: Services, console: Console) -> None:
    part = PARTS[name]
    load_before = round(os.getloadavg()[0], 1)
    plan = part.quick if options.is_quick else part.whole

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    taken = part.measure(services, plan, say)
    cells = part.tabulate(taken)
    console.print(make_table(part.title, cells.headings, cells.rows))
    for note in cells.notes:
        say(note)
    if options.is_written:
        about = About(
            date=datetime.now(UTC).date().isoformat(),
            command=shlex.join(["python", "-m", "bench.growth", *sys.argv[1:]]),
            machine=machine(),
            load_before=load_before,
            versions=versions(services.postgres_version()),
        )
        charts = part.draw(taken)
        _keep(name, _plain(about) | {"plan": plan, "taken": taken})
        quote(f"{NAME}-{name}", to_markdown(cells.headings, cells.rows, _said(cells.notes, about, charts)))
        console.print(f"written: results/{NAME}.json, README.md, {', '.join(chart.name for chart in charts)}")


def _keep(name: str, found: dict[str, Any]) -> None:
    """Put a part into results/growth.json, beside those taken before."""
    path = RESULTS_FOLDER / f"{NAME}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    save(NAME, before | {name: _plain(found)})


def _plain(value: Any) -> Any:
    """Return what JSON can hold, with the names of all fields."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _said(notes: Sequence[str], about: About, charts: Sequence[Path]) -> list[str]:
    return [
        *(f"![{chart.stem}](results/{chart.name})\n" for chart in charts),
        *(f"- {note}" for note in notes),
        *circumstances(about, "broker, database and worker"),
    ]


def main() -> int:
    """Run what was asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__.split("\n\n")[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="measure only this; may be given several times")
    parser.add_argument("--quick", action="store_true", help="small sizes and one round: a few minutes")
    parser.add_argument("--write", action="store_true", help="write results/growth.json, the charts and README.md")
    given = parser.parse_args()
    console = Console()
    options = Options(given.part or list(PARTS), given.quick, given.write)
    return attempt(
        lambda: run(options, console, Interrupts()),
        console,
        interrupted="everything is stopped; parts that were done are written",
    )


if __name__ == "__main__":
    sys.exit(main())
