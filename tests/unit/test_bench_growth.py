"""What the bench of growth says of its figures."""

from bench.growth.codes import CodesDrain
from bench.growth.draining import CpuPerEvent, Drained
from bench.growth.loading import Start
from bench.growth.report import tabulate_codes, tabulate_loading, tabulate_rows
from bench.growth.rows import FILLED, FILLING, NO_FILTER, RowsDrain


def drained(events_per_s: float) -> Drained:
    return Drained(1000, events_per_s, 1.0, CpuPerEvent(1.0, 2.0, 3.0))


def test_ratios_of_codes_are_those_within_a_round() -> None:
    """A round in which all were twice as slow changes rates, and no ratio, in whatever order they ran."""
    drains = [
        CodesDrain(1, 10, drained(100_000)),
        CodesDrain(1, 1000, drained(50_000)),
        CodesDrain(2, 1000, drained(25_000)),
        CodesDrain(2, 10, drained(50_000)),
    ]
    assert tabulate_codes(drains).rows == [
        ("10", "75,000 (50,000 to 100,000)", "1.00", "1.0", "2.0", "3.0"),
        ("1,000", "37,500 (25,000 to 50,000)", "0.50", "1.0", "2.0", "3.0"),
    ]


def test_filling_is_compared_with_a_worker_that_fills_nothing() -> None:
    """Lookups are no price of filling: what it takes away is told beside a worker that looks up as well."""
    drains = [
        RowsDrain(1, 0, FILLED, drained(100_000)),
        RowsDrain(1, 500, FILLING, drained(36_000)),
        RowsDrain(1, 500, NO_FILTER, drained(40_000)),
    ]
    found = tabulate_rows(drains)
    assert [cells[:4] for cells in found.rows] == [
        ("0", FILLED, "100,000", "1.00"),
        ("500", FILLING, "36,000", "0.36"),
        ("500", NO_FILTER, "40,000", "0.40"),
    ]
    assert found.notes == ["500 rows: while filters are filled, the rate is 0.90 of that of a worker without"]


def test_loading_counts_what_was_there() -> None:
    """Rates of loading are of the codes that each start found, listed by how many were stored."""
    starts = [Start(10, 11, 0.1, 2.0), Start(10, 12, 0.1, 4.0)]
    assert tabulate_loading(starts).rows == [("10", "0.10", "115 (110 to 120)", "3.0 (2.0 to 4.0)")]
