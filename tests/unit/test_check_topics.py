"""What `referrals check` and `referrals topics compare` make of the topics that Kafka has."""

import pytest

from worker.check.finding import Finding, Level
from worker.check.kafka import KafkaSays, check_topics
from worker.settings import Settings
from worker.topics import TopicDescription, differences, topic_names

SETTINGS = Settings(database_url="postgresql://worker@db/referrals", partitions=8, replication_factor=-1)
USAGES, REJECTED, CHANGELOG = topic_names(SETTINGS)


def topics(
    partitions: int = 8, replicas: int = 3, in_sync: int = 2, policy: str = "delete", changelog_partitions: int = 8
) -> dict[str, TopicDescription]:
    """Return all topics, well replicated unless told otherwise; a changelog is compacted as Faust makes it."""
    configs = {"min.insync.replicas": str(in_sync), "cleanup.policy": policy, "retention.ms": "604800000"}
    return {
        USAGES: TopicDescription(USAGES, partitions, replicas, configs),
        REJECTED: TopicDescription(REJECTED, 8, replicas, configs),
        CHANGELOG: TopicDescription(CHANGELOG, changelog_partitions, 1, configs | {"cleanup.policy": "compact"}),
    }


def findings_of(found: dict[str, TopicDescription], topic: str) -> list[Finding]:
    return [it for it in check_topics(KafkaSays(3, found), SETTINGS) if it.subject == f"topic {topic}"]


def test_topics_that_are_well_are_ok() -> None:
    """Three replicas of which two must agree are fine, and nothing differs from the settings."""
    assert {it.level for it in check_topics(KafkaSays(3, topics()), SETTINGS)} == {Level.OK}
    assert list(differences(topics(), SETTINGS)) == []


@pytest.mark.parametrize(
    ("replicas", "in_sync", "level", "words"),
    [
        (1, 1, Level.WARN, "lost with its broker"),
        (3, 1, Level.WARN, "an acknowledged event can be lost"),
        (2, 2, Level.WARN, "one broker away stops publishing"),
        (1, 2, Level.FAIL, "takes no event"),
    ],
)
def test_topics_that_may_lose_or_refuse_events_are_told(replicas: int, in_sync: int, level: Level, words: str) -> None:
    """Too few replicas for what must be in sync fail; too few to survive a broker are worth a warning."""
    (finding,) = findings_of(topics(replicas=replicas, in_sync=in_sync), USAGES)
    assert finding.level is level
    assert words in finding.detail
    assert finding.remedy


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_compacted_topic_of_events_fails(policy: str) -> None:
    """Of events with the same key, compaction keeps the last; the changelog, always empty, may be compacted."""
    found = topics(policy=policy)
    assert [it.level for it in findings_of(found, USAGES) + findings_of(found, REJECTED)] == [Level.FAIL] * 2
    assert [it.level for it in findings_of(found, CHANGELOG)] == [Level.OK]


@pytest.mark.parametrize(("usages", "changelog"), [(8, 4), (4, 8)])
def test_changelog_of_another_number_of_partitions_fails(usages: int, changelog: int) -> None:
    """A growth that stopped half way is finished by growing to the larger number."""
    (finding,) = findings_of(topics(partitions=usages, changelog_partitions=changelog), CHANGELOG)
    assert finding.level is Level.FAIL
    assert finding.remedy == "run `referrals topics grow --partitions 8`"


@pytest.mark.parametrize(("partitions", "may_grow"), [(4, True), (16, False)])
def test_another_number_of_partitions_is_a_difference(partitions: int, *, may_grow: bool) -> None:
    """Fewer partitions than the settings want can grow to them; more can only be accepted."""
    (difference,) = differences(topics(partitions=partitions, changelog_partitions=partitions), SETTINGS)
    assert f"REFERRALS_PARTITIONS={partitions}" in difference.remedy
    assert ("topics grow --partitions 8" in difference.remedy) == may_grow


def test_rejects_may_have_any_number_of_partitions() -> None:
    """Nothing depends on how many partitions the dead-letter topic has."""
    found = topics()
    found[REJECTED] = found[REJECTED]._replace(partitions=1)
    assert list(differences(found, SETTINGS)) == []
