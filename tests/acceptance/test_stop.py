"""Workers told to stop."""

import signal

from fix_faults import NewCase
from fix_worker import NewSystem
from waiting import wait_until

STOPPING = (503, {"status": "unavailable", "reasons": ["stopping"]})


def test_sigterm_under_load_leaves_nothing_to_replay(new_system: NewSystem, new_case: NewCase) -> None:
    """A worker that is told to stop is not ready at once, stores what it has begun and ends with 0 in its time."""
    system = new_system(4)
    case = new_case(system)
    first, second = system.start_worker(stop_timeout_s=10), system.start_worker()
    system.wait_shared(first, second)
    with case.load(2_000):
        case.strike()
        first.send(signal.SIGTERM)
        wait_until("the worker says that it stops", lambda: first.get("/readyz") == STOPPING)
        assert first.exit_code is None
        assert first.wait(20) == 0
        case.heal()
        system.wait_shared(second)
    assert case.conclude().replays == 0
