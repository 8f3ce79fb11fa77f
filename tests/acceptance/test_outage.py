"""PostgreSQL or Kafka away while events come in: nothing is lost, and nobody needs to do anything."""

import signal
import threading
from collections.abc import Callable

from fix_worker import System
from publisher import make_events
from waiting import wait_until

from sandbox.postgres import Postgres
from worker.exit_codes import EXIT_FAILURE


def test_database_outage_loses_nothing(new_system, own_postgres: Postgres, migrated) -> None:
    """PostgreSQL that is killed under load and comes back later is waited for, ready again without help."""
    system: System = new_system(url=migrated(own_postgres))
    worker = system.start_worker()
    worker.wait_ready()
    publishing = threading.Thread(
        target=system.publisher.publish,
        args=(make_events(20_000, codes=100, users=500),),
        kwargs={"per_second": 2_000},
    )
    publishing.start()
    try:
        wait_until("rows are stored", lambda: system.row_count() > 1_000)
        own_postgres.kill()
        wait_until("the worker is not ready", lambda: worker.get("/readyz")[0] == 503)
        assert worker.get("/livez")[0] == 200
        assert worker.get("/api/v1/users/0190d0a0-1111-4222-8333-444455556666/usages")[0] == 503
        own_postgres.start()
        worker.wait_ready()
    finally:
        publishing.join()
    system.wait_drained()
    system.assert_exact()
    assert worker.exit_code is None


def test_rebalance_does_not_hang_behind_a_locked_database(system: System) -> None:
    """A worker whose run waits for the database gives its partitions away when another worker comes."""
    first = system.start_worker()
    first.wait_ready()
    with system.positions_locked():
        system.publisher.publish(make_events(1_000, codes=50, users=50))
        first.wait_blocked()
        second = system.start_worker()
        wait_until("both workers hold partitions", lambda: system.held_by(first) and system.held_by(second))
    system.wait_shared(first, second)
    system.wait_drained()
    system.assert_exact()


def test_broker_outage_loses_nothing(new_kafka_system: Callable[[], System]) -> None:
    """A broker that is killed under load and comes back later is waited for; workers and producers go on."""
    system = new_kafka_system()
    worker = system.start_worker()
    worker.wait_ready()
    system.publisher.publish(make_events(2_000, codes=100, users=500))
    wait_until("rows are stored", lambda: system.row_count() > 0)
    system.kafka.kill()
    code = system.conn.execute("select code_uuid from referral_code_stats limit 1").fetchone()[0]
    assert worker.get(f"/api/v1/codes/{code}/stats")[0] == 200
    assert worker.get("/livez")[0] == 200
    system.kafka.start()
    system.publisher.publish(make_events(2_000, codes=100, users=500, seed=2))
    system.wait_drained()
    worker.wait_ready()
    system.assert_exact()
    assert worker.exit_code is None


def test_sigterm_ends_the_process_while_the_broker_is_away(new_kafka_system: Callable[[], System]) -> None:
    """A worker that is told to stop ends within its time, even when no broker lets it leave the group."""
    system = new_kafka_system()
    worker = system.start_worker(stop_timeout_s=1)
    worker.wait_ready()
    system.kafka.kill()
    worker.send(signal.SIGTERM)
    assert worker.wait(20) in {0, EXIT_FAILURE}
