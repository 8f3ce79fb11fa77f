"""`referrals topics` on a real Kafka: topics are made once, compared with the settings, and grown while none works."""

from collections.abc import Callable

from command import run
from confluent_kafka.admin import AdminClient
from fix_worker import System
from waiting import wait_until

from worker.exit_codes import EXIT_FAILURE, EXIT_SETTINGS
from worker.topics import changelog_topic


def partition_count(admin: AdminClient, topic: str) -> int:
    return len(admin.list_topics(topic, timeout=20).topics[topic].partitions)


def test_create_makes_what_is_missing_and_leaves_the_rest(system: System, admin: AdminClient) -> None:
    """Topics that are missing are made, the changelog with as many partitions as usages; then all are there."""
    changelog = changelog_topic(system.app_id)
    settings = system.settings(partitions=6)
    assert run("topics", "create", **settings).stdout.splitlines() == [
        f"was there: {system.topic}, 4 partitions",
        f"created: {system.rejected_topic}, 6 partitions",
        f"created: {changelog}, 4 partitions",
    ]
    assert partition_count(admin, changelog) == 4
    again = run("topics", "create", **settings)
    assert again.returncode == 0
    assert [line.split(":")[0] for line in again.stdout.splitlines()] == ["was there"] * 3


def test_compare_passes_when_topics_are_as_the_settings_want_them(system: System) -> None:
    """Topics that are as wanted are listed with what they have, and the exit code is 0."""
    run("topics", "create", **system.settings())
    finished = run("topics", "compare", **system.settings())
    assert finished.returncode == 0, finished.stdout
    heading, usages, *_ = finished.stdout.splitlines()
    assert heading.split() == [
        "topic", "partitions", "replicas", "min.insync.replicas", "cleanup.policy", "retention.ms",
    ]  # fmt: skip
    assert usages.split()[:5] == [system.topic, "4", "1", "1", "delete"]


def test_compare_fails_with_each_difference(system: System) -> None:
    """A missing topic, and another number of partitions or replicas, are named with the remedy; the exit code is 1."""
    finished = run("topics", "compare", **system.settings(partitions=6, replication_factor=3))
    assert finished.returncode == EXIT_FAILURE
    assert f"{system.topic} has 4 partitions, REFERRALS_PARTITIONS is 6" in finished.stdout
    assert f"{system.topic} has 1 replicas, REFERRALS_REPLICATION_FACTOR is 3" in finished.stdout
    assert f"{system.rejected_topic} is missing: run `referrals topics create`" in finished.stdout


def test_commands_end_in_words_when_the_broker_is_away(system: System) -> None:
    """Without Kafka a command ends with the client's words and no traceback."""
    finished = run("topics", "compare", **system.settings(bootstrap_servers="127.0.0.1:1"))
    assert finished.returncode == EXIT_FAILURE
    assert "Unable to bootstrap" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_grow_adds_partitions_to_usages_and_changelog(system: System, admin: AdminClient) -> None:
    """Both topics grow, the command says what follows, and a worker that starts before names the repair's topic."""
    run("topics", "create", **system.settings())
    finished = run("topics", "grow", "--partitions", "8", **system.settings())
    assert finished.returncode == 0, finished.stderr
    assert f"{system.topic}: 4 partitions before, 8 now" in finished.stdout
    assert "`referrals repair`" in finished.stdout
    for topic in (system.topic, changelog_topic(system.app_id)):
        wait_until(f"{topic} has grown", lambda topic=topic: partition_count(admin, topic) == 8)
    again = run("topics", "grow", "--partitions", "8", **system.settings())
    assert again.returncode == 0
    assert "the topics have 8 partitions already" in again.stdout


def test_grow_finishes_what_was_interrupted_between_the_topics(
    system: System, new_topic: Callable[[int], str], admin: AdminClient
) -> None:
    """With a usages topic that has grown alone a worker refuses to start, and the same command grows the other."""
    run("topics", "create", **system.settings())
    grown = new_topic(8)
    settings = system.settings(usages_topic=grown)
    worker = system.start_worker(usages_topic=grown)
    assert worker.wait() == EXIT_FAILURE
    assert "run `referrals topics grow --partitions 8`" in worker.text()
    assert run("topics", "grow", "--partitions", "8", **settings).returncode == 0
    changelog = changelog_topic(system.app_id)
    wait_until("the changelog topic has grown", lambda: partition_count(admin, changelog) == 8)


def test_grow_refuses_to_shrink(system: System, admin: AdminClient) -> None:
    """Kafka takes no partitions away: fewer than there are is refused."""
    run("topics", "create", **system.settings())
    finished = run("topics", "grow", "--partitions", "2", **system.settings())
    assert finished.returncode == EXIT_SETTINGS
    assert "has 4, and Kafka takes no partition away" in finished.stderr
    assert partition_count(admin, system.topic) == 4


def test_grow_names_the_topic_that_is_missing(system: System) -> None:
    """A topic that is not there is not made by growing."""
    finished = run("topics", "grow", "--partitions", "8", **system.settings())
    assert finished.returncode == EXIT_SETTINGS
    assert "is missing: run `referrals topics create`" in finished.stderr


def test_grow_refuses_while_workers_run(system: System, admin: AdminClient) -> None:
    """A live worker is named with the procedure, and nothing grows."""
    worker = system.start_worker()
    worker.wait_ready()
    finished = run("topics", "grow", "--partitions", "8", **system.settings())
    assert finished.returncode == EXIT_FAILURE
    assert worker.client_id in finished.stderr
    assert "stop all of them" in finished.stderr
    assert partition_count(admin, system.topic) == 4
