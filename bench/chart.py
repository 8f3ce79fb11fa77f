"""
The charts beside the tables: drawn into results/ as SVG, the same bytes for the same figures.

Backgrounds are clear and colours of a middle tone, so that one file reads on a light page and on a dark one. The lines'
colours are those of Okabe and Ito, which the colour-blind tell apart, and each line has a marker of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

RESULTS_FOLDER: Final = Path(__file__).with_name("results")
# as far from white as from the usual dark page
INK: Final = "#797979"
OWN_COLOUR: Final = "#0072b2"
OTHER_COLOUR: Final = "#979797"
LINE_COLOURS: Final = (OWN_COLOUR, "#d55e00", "#009e73", "#cc79a7", "#b58900")
MARKERS: Final = "osD^v"
WIDTH_IN: Final = 8.0
BAR_IN: Final = 0.5
LINES_HEIGHT_IN: Final = 4.0
MARGIN_IN: Final = 0.9
# room beside the longest bar for its figure
BAR_ROOM: Final = 1.3
STYLE: Final = {
    # ids are drawn by chance without it
    "svg.hashsalt": "referrals",
    # outlines instead of letters: the same on a machine with other fonts
    "svg.fonttype": "path",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


class Bar(NamedTuple):
    """
    One bar: a median, and a whisker from least to most.

    Args:
        is_own: stands out from the others.
    """

    label: str
    median: float
    least: float
    most: float
    is_own: bool = False


class Line(NamedTuple):
    """
    One line: a point for each x.

    Args:
        spread: least and most at each x, drawn as a band; none when empty.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[tuple[float, float]] = ()


def draw_bars(name: str, title: str, bars: Sequence[Bar]) -> Path:
    """Draw bars from top to bottom, each with its figure, into results/`name`.svg and return its path."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(title, MARGIN_IN + BAR_IN * len(bars))
        axes.barh(
            range(len(bars)),
            [bar.median for bar in bars],
            height=0.62,
            color=[OWN_COLOUR if bar.is_own else OTHER_COLOUR for bar in bars],
            xerr=[[bar.median - bar.least for bar in bars], [bar.most - bar.median for bar in bars]],
            error_kw={"ecolor": INK, "elinewidth": 1.2, "capsize": 3},
        )
        for place, bar in enumerate(bars):
            axes.annotate(
                f"{bar.median:,.0f}", (bar.most, place), (8, 0), textcoords="offset points", verticalalignment="center"
            )
        axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, BAR_ROOM * max(bar.most for bar in bars))
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return _save(figure, name)


def draw_lines(
    name: str, title: str, lines: Sequence[Line], *, x_label: str, y_label: str, is_x_log: bool = False
) -> Path:
    """
    Draw lines over one x axis, y from 0 on, into results/`name`.svg and return its path.

    Args:
        x_label, y_label: what is shown, with its unit.
        is_x_log: steps of x multiply instead of adding; x must be above 0 then.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _axes(title, LINES_HEIGHT_IN)
        for place, line in enumerate(lines):
            colour, marker = LINE_COLOURS[place % len(LINE_COLOURS)], MARKERS[place % len(MARKERS)]
            axes.plot(line.x, line.y, color=colour, marker=marker, linewidth=1.8, markersize=5, label=line.label)
            if line.spread:
                leasts, mosts = zip(*line.spread, strict=True)
                axes.fill_between(line.x, leasts, mosts, color=colour, alpha=0.2, linewidth=0)
        if is_x_log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
        axes.yaxis.set_major_formatter(FuncFormatter(_number))
        axes.grid()
        if len(lines) > 1:
            axes.legend()
        return _save(figure, name)


def _axes(title: str, height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize="medium", fontweight="bold", pad=10)
    return figure, axes


def _number(value: float, _place: int | None) -> str:
    return f"{value:,.10g}"


def _save(figure: Figure, name: str) -> Path:
    RESULTS_FOLDER.mkdir(exist_ok=True)
    target = RESULTS_FOLDER / f"{name}.svg"
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return target
