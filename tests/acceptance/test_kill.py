"""Workers killed in the middle of their work."""

import signal
import threading
from collections.abc import Callable

from fix_worker import System
from publisher import make_events
from waiting import wait_until

EVENTS = 50_000


def test_worker_killed_under_load_loses_and_doubles_nothing(new_system: Callable[..., System]) -> None:
    """A worker that is killed while it lags leaves nothing undone and nothing done twice to those who take over."""
    system = new_system(8)
    first, second = system.start_worker(), system.start_worker()
    system.wait_shared(first, second)
    events = make_events(EVENTS, codes=200, users=2_000, repeated=0.02)
    publishing = threading.Thread(target=system.publisher.publish, args=(events,), kwargs={"per_second": 5_000})
    publishing.start()
    try:
        rows = wait_until("10,000 rows are stored", lambda: (rows := system.row_count()) >= 10_000 and rows)
        held = system.held_by(first)
        first.send(signal.SIGKILL)
        assert rows <= 40_000, f"{rows} rows were stored before the kill: the load was over"
        assert first.wait() == -signal.SIGKILL
        ends, positions = system.ends(), system.positions()
        lag = sum(ends[partition] - positions[partition] for partition in held)
        assert lag > 0, f"the killed worker held {held} without lag"
        third = system.start_worker()
    finally:
        publishing.join()
    system.wait_shared(second, third)
    system.wait_drained()
    system.assert_exact()
    assert len(system.publisher.acknowledged) < EVENTS, "no event_id was repeated"
