"""PostgreSQL that stops, stalls or refuses under load: nothing is lost, and nobody needs to do anything."""

import os
import signal
import threading

import pytest
from fix_faults import NewCase
from fix_proxy import Proxy
from fix_worker import System
from waiting import wait_until

from sandbox.postgres import Postgres

STOPS = 3
# while it is there, every run's COPY fails with the given error
FAILING = """
create function fail() returns trigger language plpgsql as $$
begin raise exception 'made to fail with {state}' using errcode = '{state}'; end $$;
create trigger fails before insert on referral_usages for each statement execute function fail();
"""
# while it is there, a session that stores a run can do nothing but read from then on, for as long as it lives
DEMOTING = """
create function demote() returns trigger language plpgsql as $$
begin perform set_config('default_transaction_read_only', 'on', false); return null; end $$;
create trigger demotes after insert on referral_usages for each statement execute function demote();
"""
READ_ONLY = "in a read-only transaction"


def test_database_stopped_at_once_under_load_loses_nothing(
    own_system: System, new_case: NewCase, own_postgres: Postgres
) -> None:
    """PostgreSQL is stopped immediately, again and again, and takes its time to come back: everything counts once."""
    system, case = own_system, new_case(own_system)
    worker = system.start_worker()
    worker.wait_ready()
    with case.load(1_500):
        for _ in range(STOPS):
            case.strike()
            os.kill(own_postgres.pid, signal.SIGQUIT)  # what pg_ctl stop -m immediate sends
            own_postgres.stop()
            assert "received immediate shutdown request" in own_postgres.log.read_text()
            wait_until("the worker is not ready", lambda: worker.get("/readyz")[0] == 503)
            assert worker.get("/livez")[0] == 200
            own_postgres.start()
            case.heal()
            stored = case.stored
            wait_until("records are stored again", lambda stored=stored: case.stored > stored)
    case.conclude()
    assert worker.exit_code is None


def test_connections_that_swallow_everything_are_given_up(
    own_system: System, new_case: NewCase, own_postgres: Postgres, proxy: Proxy
) -> None:
    """A way to PostgreSQL that takes everything and brings no answer, nor a reset, is given up after a bounded time."""
    system, case = own_system, new_case(own_system)
    worker = system.start_worker(
        database_url=own_postgres.tcp_url("referrals", port=proxy.port),
        transaction_timeout_s=3,
        connect_timeout_s=2,
        read_timeout_s=2,
    )
    worker.wait_ready()
    with case.load(1_500):
        case.strike()
        proxy.swallow()
        wait_until("the worker is not ready", lambda: worker.get("/readyz")[0] == 503)
        assert worker.get("/livez")[0] == 200
        assert worker.get("/api/v1/users/0190d0a0-1111-4222-8333-444455556666/usages")[0] == 503
        assert proxy.swallowed_bytes > 0
        proxy.flow()
        case.heal()
        worker.wait_ready()
    case.conclude()


def test_server_turned_read_only_under_open_sessions_is_an_outage(own_system: System, new_case: NewCase) -> None:
    """PostgreSQL that only lets read, sessions that are open included, is waited for: no record becomes a reject."""
    system, case = own_system, new_case(own_system)
    worker = system.start_worker()
    worker.wait_ready()
    with case.load(1_500):
        case.strike()
        system.conn.execute("alter system set default_transaction_read_only = on")
        system.conn.execute("select pg_reload_conf()")
        wait_until("the worker says so", lambda: READ_ONLY in worker.text())
        wait_until("the worker is not ready", lambda: worker.get("/readyz")[0] == 503)
        system.conn.execute("set default_transaction_read_only = off")
        system.conn.execute("alter system reset default_transaction_read_only")
        system.conn.execute("select pg_reload_conf()")
        case.heal()
        worker.wait_ready()
    case.conclude()


def test_sessions_that_stay_read_only_are_dropped(own_system: System, new_case: NewCase) -> None:
    """Open sessions that can only read, and always will, as after a failover, are replaced: each fails only once."""
    system, case = own_system, new_case(own_system)
    worker = system.start_worker()
    worker.wait_ready()
    with case.load(1_500):
        case.strike()
        system.conn.execute(DEMOTING)
        wait_until("sessions are read-only", lambda: worker.text().count(READ_ONLY) >= 10)
        system.conn.execute("drop trigger demotes on referral_usages")
        case.heal()
        worker.wait_ready()
    case.conclude()


@pytest.mark.parametrize("state", ["53100", "55P03", "40P01"], ids=["disk-full", "lock-timeout", "deadlock"])
def test_error_that_is_no_fault_of_the_rows_is_an_outage(own_system: System, new_case: NewCase, state: str) -> None:
    """A full disk, a lock held for too long and a deadlock are waited out: no record becomes a reject."""
    system, case = own_system, new_case(own_system)
    worker = system.start_worker()
    worker.wait_ready()
    with case.load(1_500):
        case.strike()
        system.conn.execute(FAILING.format(state=state))
        failed = f"made to fail with {state}"
        wait_until("runs fail more than once", lambda: worker.text().count(failed) > 2 * system.partitions)
        assert worker.get("/readyz")[0] == 503
        system.conn.execute("drop trigger fails on referral_usages")
        case.heal()
        worker.wait_ready()
    case.conclude()


def test_outage_longer_than_the_session_keeps_the_membership(
    own_system: System, new_case: NewCase, own_postgres: Postgres
) -> None:
    """A worker that waits for PostgreSQL longer than Kafka would wait for it stays in the group and goes on."""
    system, case = own_system, new_case(own_system)
    worker = system.start_worker(session_timeout_s=2)
    worker.wait_ready()
    with case.load(500):
        case.strike()
        own_postgres.kill()
        wait_until("the worker is not ready", lambda: worker.get("/readyz")[0] == 503)
        loaded = worker.text().count("partition loaded")
        threading.Event().wait(12)  # the outage's own length
        assert system.held_by(worker) == set(range(4))
        own_postgres.start()
        case.heal()
        worker.wait_ready()
        assert worker.text().count("partition loaded") == loaded
    case.conclude()
