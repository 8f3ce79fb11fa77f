"""Workers killed or frozen exactly between two steps of a run."""

import signal

import pytest
from fix_faults import NewCase
from fix_worker import Fault, NewSystem, System, WorkerProcess
from waiting import wait_until

SESSIONS = "select state, wait_event from pg_stat_activity where application_name like %s"
STATE_AT = {"before-commit": "idle in transaction", "in-copy": "active"}


def start_pair(system: System, fault: Fault) -> tuple[WorkerProcess, WorkerProcess]:
    """Start a worker that the fault will hit, and one that takes over."""
    faulty, other = system.start_worker(fault), system.start_worker()
    system.wait_shared(faulty, other)
    return faulty, other


def sessions_of(system: System, worker: WorkerProcess) -> list[tuple[str, str]]:
    """Return state and wait event of a worker's sessions that store runs."""
    return system.conn.execute(SESSIONS, [f"referrals-writer-%-{worker.pid}"]).fetchall()


@pytest.mark.parametrize("step", ["before-commit", "after-commit", "after-show"])
def test_worker_killed_at_a_step_leaves_the_run_stored_or_not_begun(
    new_system: NewSystem, new_case: NewCase, step: str
) -> None:
    """Killed before the commit, a run never happened; killed after it, it is done, whatever Kafka was told of it."""
    system = new_system(4)
    case = new_case(system)
    faulty, other = start_pair(system, Fault(step, signal.SIGKILL, run=20))
    with case.load(2_000):
        case.strike()
        hit = faulty.wait_hit()
        assert faulty.wait() == -signal.SIGKILL
        # nobody owns the partition before the session of the killed worker is over
        position = system.positions()[hit.partition]
        committed = system.committed()[hit.partition]
        case.heal()
        assert position == (hit.start if step == "before-commit" else hit.next_offset)
        assert committed <= hit.start
    system.wait_shared(other)
    case.conclude()


@pytest.mark.parametrize("step", ["before-commit", "in-copy"])
def test_frozen_worker_does_no_harm_when_it_wakes(new_system: NewSystem, new_case: NewCase, step: str) -> None:
    """A worker frozen within a transaction loses its partitions to others, who move on; woken, it changes nothing."""
    system = new_system(4)
    case = new_case(system)
    faulty, other = start_pair(system, Fault(step, signal.SIGSTOP, run=20))
    with case.load(1_500):
        case.strike()
        hit = faulty.wait_hit()
        wait_until("the worker is frozen", lambda: faulty.is_frozen)
        # waiting for the frozen client's next message, with the position locked
        assert (STATE_AT[step], "ClientRead") in sessions_of(system, faulty)
        assert system.positions()[hit.partition] == hit.start
        case.heal()
        system.wait_shared(other)
        wait_until("others have moved on", lambda: system.positions()[hit.partition] > hit.next_offset)
        assert faulty.is_frozen
        faulty.send(signal.SIGCONT)
    system.wait_shared(faulty, other)
    case.conclude()
