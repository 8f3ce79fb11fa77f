"""`referrals verify` and `referrals repair` on real topics, beside and between real workers."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from fix_worker import System
from publisher import make_events
from waiting import wait_until

from worker.exit_codes import EXIT_FAILURE, EXIT_SETTINGS

TIMEOUT_S = 60
WRONG = (
    "update referral_code_stats set total_uses = total_uses + 1"
    " where code_uuid = (select code_uuid from referral_code_stats order by code_uuid limit 1)"
)


def run(system: System, *command: str) -> subprocess.CompletedProcess[str]:
    """Run `referrals` with the system's settings."""
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *command],
        env=system.settings(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def assert_mended(system: System, *options: str) -> str:
    """Repair, and return what was said."""
    finished = run(system, "repair", *options)
    assert finished.returncode == 0, finished.stderr
    verified = run(system, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return finished.stdout


def stop(system: System) -> None:
    for worker in system.running():
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0


def test_verify_beside_working_workers_is_equal(system: System) -> None:
    """While workers store under load, every verification finds statistics and rows equal."""
    system.start_worker().wait_ready()
    events = make_events(10_000, codes=50, users=200, repeated=0.05)
    grew = 0
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(system.publisher.publish, events, per_second=1_000)
        while not publishing.done():
            before = system.row_count()
            finished = run(system, "verify", "--json")
            assert finished.returncode == 0, finished.stdout + finished.stderr
            grew += before < system.row_count()
        publishing.result()
    assert grew, "no rows were stored while statistics were verified"
    system.wait_drained()
    system.assert_exact()


def test_verify_and_repair_say_what_is_wrong(system: System) -> None:
    """A wrong statistic is named with exit code 1 and mended by a repair, not by a dry run, nor beside a worker."""
    worker = system.start_worker()
    worker.wait_ready()
    system.publisher.publish(make_events(1_000, codes=20, users=50))
    system.wait_drained()
    system.conn.execute(WRONG)
    verified = run(system, "verify")
    assert verified.returncode == EXIT_FAILURE
    assert "total_uses" in verified.stdout
    assert "`referrals repair`" in verified.stdout
    document = json.loads(run(system, "verify", "--json").stdout)
    assert (document["equal"], document["wrong_codes"]) == (False, 1)
    refused = run(system, "repair")
    assert refused.returncode == EXIT_FAILURE
    assert worker.client_id in refused.stderr
    assert run(system, "verify").returncode == EXIT_FAILURE
    stop(system)
    assert "nothing was changed" in run(system, "repair", "--dry-run").stdout
    assert run(system, "verify").returncode == EXIT_FAILURE
    assert "1 codes, 0 hours and 0 positions mended" in assert_mended(system)
    system.start_worker().wait_ready()
    system.assert_exact()


def recreate(system: System, admin: AdminClient) -> None:
    """Delete the topic and create it anew."""
    admin.delete_topics([system.topic])[system.topic].result(TIMEOUT_S)

    def is_created() -> bool:
        try:
            admin.create_topics([NewTopic(system.topic, system.partitions, 1)])[system.topic].result(TIMEOUT_S)
        except KafkaException as error:
            # the broker deletes in its own time
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            return False
        return True

    wait_until("the topic is created anew", is_created)


def test_topic_created_anew_is_read_from_its_start(system: System, admin: AdminClient) -> None:
    """Workers stop at a topic created anew; after the repair it is read from its start, and everything counts once."""
    events = make_events(4_000, codes=40, users=100)
    system.start_worker().wait_ready()
    system.publisher.publish(events[:2_000])
    system.wait_drained()
    stop(system)
    kept = run(system, "repair", "--topic-recreated", "--yes")
    assert kept.returncode == EXIT_SETTINGS, kept.stdout
    assert "nothing shows that" in kept.stderr
    recreate(system, admin)
    # some repeat what the former topic held: duplicates by their event ids
    system.publisher.publish(events[1_500:])
    positions = system.positions()
    worker = system.start_worker()
    assert worker.wait() == EXIT_FAILURE
    assert "`referrals repair --topic-recreated`" in worker.text()
    planned = run(system, "repair", "--topic-recreated", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert system.positions() == positions
    assert "is another record than the one that was stored" in planned.stdout
    assert_mended(system, "--topic-recreated", "--yes")
    assert set(system.positions().values()) == {0}
    system.start_worker().wait_ready()
    system.wait_drained()
    system.assert_exact()


def test_repair_beside_another_lock_changes_nothing(system: System) -> None:
    """Somebody who holds a position keeps a repair away for its bounded wait, and nothing is changed."""
    system.start_worker().wait_ready()
    system.publisher.publish(make_events(500, codes=10, users=20))
    system.wait_drained()
    stop(system)
    system.conn.execute(WRONG)
    with system.positions_locked():
        assert run(system, "repair").returncode == EXIT_FAILURE
    assert run(system, "verify").returncode == EXIT_FAILURE
    assert_mended(system)
