"""What the benches say of their figures: ratios, CPU time, charts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import chart
from bench.contenders.roster import BASELINE, WORKER
from bench.cpu import cpu_s
from bench.measure import CpuPerEvent, Measurement
from bench.report import HEADINGS, NOTHING, rows

BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def measurement(contender: str, number: int, events_per_s: float, cpu_us: CpuPerEvent | None = None) -> Measurement:
    return Measurement(number, contender, 1000, events_per_s, 1.0, 2.0, cpu_us, 10)


def cells_of(name: str, measurements: list[Measurement]) -> dict[str, str]:
    (cells,) = (cells for cells in rows(measurements) if cells[0] == name)
    return dict(zip(HEADINGS, cells, strict=True))


def test_rows_take_ratios_within_each_round() -> None:
    """A machine that is twice as slow for a whole round changes rates, and no ratio."""
    cells = cells_of(
        WORKER.name,
        [
            measurement(BASELINE.name, 1, 100_000),
            measurement(WORKER.name, 1, 120_000),
            measurement(WORKER.name, 2, 60_000),
            measurement(BASELINE.name, 2, 50_000),
        ],
    )

    assert cells["events/s"] == "90,000 (60,000 to 120,000)"
    assert cells[f"÷ {BASELINE.name}"] == "1.20"


def test_rows_compare_the_worker_with_each_contender() -> None:
    """The worker's rate divided by another's, the other way round than that to the bare loop."""
    measurements = [measurement(WORKER.name, 1, 100_000), measurement("slow", 1, 500)]

    assert cells_of("slow", measurements)[f"{WORKER.name} ÷ it"] == "200.00"


def test_rows_have_no_figure_for_what_was_not_measured() -> None:
    """Without the bare loop, or without /proc, there is a dash rather than a number."""
    cells = cells_of("slow", [measurement("slow", 1, 500)])

    assert cells[f"÷ {BASELINE.name}"] == cells[HEADINGS[-1]] == NOTHING


def test_rows_show_the_median_of_each_cpu_time() -> None:
    """What the contender, the database and the broker used are figures of their own, each with its median."""
    used = [CpuPerEvent(1.0, 5.0, 0.1), CpuPerEvent(2.0, 4.0, 0.3), CpuPerEvent(3.0, 6.0, 0.2)]
    measurements = [measurement("slow", number, 500, cpu_us) for number, cpu_us in enumerate(used, 1)]

    assert cells_of("slow", measurements)[HEADINGS[-1]] == "2.0 + 5.0 + 0.2"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc, and no figure")
def test_cpu_s_counts_children_that_have_ended() -> None:
    """What a backend of PostgreSQL used is not lost when it ends between two readings."""
    before = cpu_s(os.getpid())
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    after = cpu_s(os.getpid())

    assert before is not None
    assert after is not None
    # two figures in whole ticks of 10 ms each
    assert after - before >= 0.28


def test_charts_are_the_same_bytes_for_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that finds the same leaves nothing to commit."""
    monkeypatch.setattr(chart, "RESULTS_FOLDER", tmp_path)
    bars = [chart.Bar("this", 90.0, 80.0, 100.0, is_own=True), chart.Bar("that", 50.0, 50.0, 50.0)]
    lines = [chart.Line("this", [1, 10, 100], [9.0, 8.0, 7.0], [(8.0, 9.5), (7.0, 8.5), (6.0, 7.5)])]

    def draw() -> list[bytes]:
        drawn = [
            chart.draw_bars("bars", "title", bars),
            chart.draw_lines("lines", "title", lines, x_label="x", y_label="y", is_x_log=True),
        ]
        return [path.read_bytes() for path in drawn]

    assert draw() == draw()
