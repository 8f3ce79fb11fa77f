"""Workers that are killed, come and go all the time."""

import random
import signal
import threading
import time

from fix_faults import NewCase
from fix_worker import NewSystem, System
from waiting import wait_until

from sandbox.postgres import Postgres

ROUNDS = 10
A_MINUTE_S = 60
BETWEEN_CHANGES_S = 3


def test_workers_killed_in_turn_lose_and_double_nothing(new_system: NewSystem, new_case: NewCase) -> None:
    """Ten times a random one of three workers is killed under load and another one started: everything counts once."""
    system = new_system(8)
    case = new_case(system)
    system.wait_shared(*(system.start_worker(session_timeout_s=2) for _ in range(3)))
    chance = random.Random()
    with case.load(1_000):
        for number in range(ROUNDS):
            if number == 0:
                case.strike()
            victim = chance.choice(system.running())
            victim.send(signal.SIGKILL)
            assert victim.wait() == -signal.SIGKILL
            stored = case.stored
            system.start_worker(session_timeout_s=2).wait_ready()
            wait_until("records are stored", lambda stored=stored: case.stored >= stored + 500)
        case.heal()
    assert len(system.running()) == 3
    system.wait_shared(*system.running())
    case.conclude()


def test_workers_that_come_and_go_lose_and_double_nothing(new_system: NewSystem, new_case: NewCase) -> None:
    """For a minute a worker joins or leaves every three seconds or so under load: everything counts once."""
    system = new_system(8)
    case = new_case(system)
    first = system.start_worker()
    first.wait_ready()
    left = 0
    pace = threading.Event()
    with case.load(1_000):
        case.strike()
        until = time.monotonic() + A_MINUTE_S
        while time.monotonic() < until:
            joined = system.start_worker()
            wait_until("it has a partition", lambda joined=joined: "partition loaded" in joined.text())
            pace.wait(BETWEEN_CHANGES_S)
            joined.send(signal.SIGTERM)
            pace.wait(BETWEEN_CHANGES_S)
            assert joined.wait() == 0
            left += 1
        case.heal()
    system.wait_shared(first)
    assert left > 1
    case.conclude()


def test_rebalance_in_a_database_outage_loses_nothing(
    own_system: System, new_case: NewCase, own_postgres: Postgres
) -> None:
    """Partitions that move while PostgreSQL is away are read by their new owner once it is back."""
    system, case = own_system, new_case(own_system)
    first, second = system.start_worker(), system.start_worker()
    system.wait_shared(first, second)
    with case.load(1_000):
        case.strike()
        own_postgres.kill()
        wait_until("both wait for it", lambda: all(worker.get("/readyz")[0] == 503 for worker in (first, second)))
        first.send(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        wait_until("the other owns all", lambda: system.held_by(second) == set(range(4)))
        assert second.get("/readyz")[0] == 503
        own_postgres.start()
        case.heal()
        second.wait_ready()
    case.conclude()
