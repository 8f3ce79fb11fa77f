"""What a worker counts and measures."""

from worker.metrics import Metrics, Rate
from worker.runs.progress import Progress


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"referrals_{name}", labels)


def test_rate_is_the_mean_of_the_last_ten_seconds() -> None:
    """What happened in the last ten full seconds counts, the second that still runs and older ones do not."""
    now = 100.0
    rate = Rate(lambda: now)
    assert rate.per_second() == 0
    rate.add(1_000)
    for second in range(101, 111):
        now = second + 0.2
        rate.add(30)
        now = second + 0.9
        rate.add(20)
    now = 111.5
    rate.add(7_000)
    assert rate.per_second() == 50
    now = 130.0
    assert rate.per_second() == 0


def test_run_is_counted_once_in_every_metric() -> None:
    """A stored run moves each counter by what it held, and both histograms by one."""
    metrics = Metrics("1.2.3", lambda _now_s: [])
    metrics.note_run(
        records=10,
        seconds=0.02,
        stored=4,
        duplicates=1,
        replayed=2,
        rerouted=1,
        reject_reasons=["empty", "empty"],
    )
    assert value(metrics, "usages_stored_total") == 4
    assert value(metrics, "usages_duplicate_total") == 1
    assert value(metrics, "records_replayed_total") == 2
    assert value(metrics, "records_rerouted_total") == 1
    assert value(metrics, "records_rejected_total", reason="empty") == 2
    assert value(metrics, "run_records_sum") == 10
    assert value(metrics, "run_seconds_count") == 1
    assert value(metrics, "build_info", version="1.2.3") == 1


def test_gauges_are_those_of_the_partitions_held_now() -> None:
    """A partition that is gone has no value any more, and a lag that is not known is absent, not zero."""
    held = [Progress(0, 7, 3, 0.1), Progress(2, 9, None, None)]
    metrics = Metrics("1.2.3", lambda _now_s: held)
    assert value(metrics, "lag", partition="0") == 3
    assert value(metrics, "lag", partition="2") is None
    assert value(metrics, "position", partition="2") == 9
    assert value(metrics, "partitions_held") == 2
    held.pop(0)
    assert value(metrics, "position", partition="0") is None
    assert value(metrics, "partitions_held") == 1


def test_workers_of_one_process_have_metrics_of_their_own() -> None:
    """Two sets of metrics do not meet in a registry that both share."""
    first, second = (Metrics("1.2.3", lambda _now_s: []) for _ in range(2))
    first.note_run(records=1, seconds=1, stored=1, duplicates=0, replayed=0, rerouted=0, reject_reasons=[])
    assert value(second, "usages_stored_total") == 0
