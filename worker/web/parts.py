"""What the web application is put together from: what answers, and what publishes."""

from dataclasses import dataclass

from worker.publishing.intake import UsageIntake
from worker.rejections import Rejections, Republisher
from worker.web.overview import OverviewReader
from worker.web.queries import Reader
from worker.web.stats import StatsReader


@dataclass(frozen=True)
class Readers:
    """
    Answer what is asked.

    Args:
        usages: the rows of usages.
        stats: the statistics of a code, by this worker's table where it holds them.
        overview: everything stored, and all workers.
        rejections: the rows of rejects.
    """

    usages: Reader
    stats: StatsReader
    overview: OverviewReader
    rejections: Rejections


@dataclass(frozen=True)
class Publishers:
    """
    Put on the usages topic what callers want there.

    Args:
        usages: single events.
        rejections: rejects, once more.
    """

    usages: UsageIntake
    rejections: Republisher
