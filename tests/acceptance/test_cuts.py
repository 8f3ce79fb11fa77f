"""Connections to PostgreSQL that break at the worst moments, and rows it refuses."""

import pytest
from fix_faults import NewCase
from fix_proxy import Proxy
from fix_worker import NewSystem, System
from publisher import identity, make_events
from waiting import wait_until

from sandbox.postgres import Postgres

CUTS = 10
EVENTS = 5_000


def start_behind(proxy: Proxy, server: Postgres, system: System) -> None:
    """Start a worker whose connections go through the proxy, with short pauses between its tries."""
    system.start_worker(database_url=server.tcp_url("referrals", port=proxy.port), retry_max_s=0.5).wait_ready()


@pytest.mark.parametrize("moment", ["copy", "commit"])
def test_connection_cut_within_a_run_loses_and_doubles_nothing(
    own_system: System,
    new_case: NewCase,
    own_postgres: Postgres,
    proxy: Proxy,
    moment: str,
) -> None:
    """A connection that breaks in the middle of the rows, or after COMMIT and before its answer, is only a retry."""
    system, case = own_system, new_case(own_system)
    start_behind(proxy, own_postgres, system)
    with case.load(1_500):
        case.strike()
        proxy.to_cut[moment] = CUTS
        wait_until("connections are cut", lambda: proxy.cuts[moment] == CUTS)
        case.heal()
    row = case.conclude()
    if moment == "commit":
        assert row.replays > 0, "no cut COMMIT had happened"


@pytest.mark.parametrize("has_outage", [False, True], ids=["alone", "with-an-outage"])
def test_one_row_refused_among_thousands_is_the_only_reject(
    new_system: NewSystem,
    new_case: NewCase,
    own_postgres: Postgres,
    proxy: Proxy,
    migrated,
    *,
    has_outage: bool,
) -> None:
    """Of a run of 5,000 rows the one that a constraint refuses becomes a reject, even if the search is interrupted."""
    system = new_system(1, url=migrated(own_postgres))
    case = new_case(system)
    events = make_events(EVENTS, codes=50, users=500)
    refused = events[EVENTS // 3]
    system.conn.execute(f"alter table referral_usages add check (uuid <> '{identity(refused)}')")
    system.publisher.publish(events)
    system.publisher.refuse([refused])
    case.strike()
    if has_outage:
        proxy.to_cut["copy"] = CUTS
    start_behind(proxy, own_postgres, system)
    wait_until("connections are cut", lambda: proxy.to_cut["copy"] == 0)
    assert proxy.cuts["copy"] == (CUTS if has_outage else 0)
    case.heal()
    row = case.conclude()
    assert (system.row_count(), row.rejects) == (EVENTS - 1, 1)
