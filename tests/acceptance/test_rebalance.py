"""Partitions that come and go, and events that arrive at once."""

import signal

from fix_worker import Fault, System
from publisher import make_events
from waiting import wait_until

ROUNDS = 3
LOADED = "partition loaded"
LOADING = "fault at joining: the coordinator is loading"


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


def test_coordinator_that_is_loading_is_asked_again(system: System) -> None:
    """A coordinator that loads the group while it forms, as after a stall of its broker, ends no worker."""
    first = system.start_worker(Fault("joining"))
    first.wait_ready()
    assert first.text().count(LOADING) == 1
    second = system.start_worker()
    system.wait_shared(first, second)
    assert first.text().count(LOADING) >= 2
    system.publisher.publish(make_events(400, codes=50, users=50))
    system.wait_drained()
    system.assert_exact()
    assert first.exit_code is None
