"""Partitions that come and go, and events that arrive at once."""

import signal

from fix_worker import System
from publisher import make_events
from waiting import wait_until

ROUNDS = 3
LOADED = "partition loaded"


def test_events_right_after_a_rebalance_are_delivered(system: System) -> None:
    """
    A worker that keeps a partition over a rebalance delivers what arrives the moment it is ready again.

    A fetch that began before the rebalance still waits then, and took these records for a lane that was gone.
    """
    first = system.start_worker()
    first.wait_ready()
    for seed in range(ROUNDS):
        loaded_before = first.text().count(LOADED)
        second = system.start_worker()
        wait_until("partitions are loaded anew", lambda before=loaded_before: first.text().count(LOADED) > before)
        system.publisher.publish(make_events(400, codes=50, users=50, seed=seed))
        system.wait_shared(first, second)
        second.send(signal.SIGTERM)
        assert second.wait() == 0
        system.wait_shared(first)
    system.wait_drained()
    system.assert_exact()
