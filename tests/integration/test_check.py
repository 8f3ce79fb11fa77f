"""`referrals check` against a real Kafka and PostgreSQL: what it says when each of them is well, wrong or away."""

import uuid

import psycopg
import pytest
from command import run, run_check
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from fix_worker import System

from sandbox.ports import free_port
from sandbox.postgres import Postgres
from worker.exit_codes import EXIT_FAILURE
from worker.migrate import MIGRATIONS


def levels(findings: list[dict]) -> list[str]:
    return [finding["level"] for finding in findings]


@pytest.fixture
def settings(system: System) -> dict[str, str]:
    """A system whose topics are all there."""
    assert run("topics", "create", **system.settings()).returncode == 0
    return system.settings()


@pytest.fixture
def role(postgres: Postgres):
    """Make a role that may read and nothing else, dropped after the test."""
    name = f"reader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as conn:
        conn.execute(f"create role {name} login in role pg_read_all_data")
        yield name
        conn.execute(f"drop role {name}")


def test_check_passes_when_everything_is_there(settings: dict[str, str], system: System) -> None:
    """With all things as they should be nothing fails, and all that is said is one broker's lack of replicas."""
    code, findings = run_check(**settings)
    assert code == 0
    doubtful = {subject for subject, found in findings.items() if levels(found) != ["ok"]}
    assert doubtful == {f"topic {system.topic}", f"topic {system.rejected_topic}"}
    assert "1 replica" in findings[f"topic {system.topic}"][0]["detail"]
    assert {"settings", "codec gzip", "codec snappy", "codec lz4", "codec zstd", "writing", "schema", "privileges",
            "positions", f"Kafka at {system.kafka.bootstrap_servers}"} <= findings.keys()  # fmt: skip


def test_check_prints_a_line_for_each_thing_without_colours(settings: dict[str, str]) -> None:
    """What is no terminal gets plain lines: how it is, the thing, and below it what to do."""
    finished = run("check", **settings)
    assert finished.returncode == 0
    assert "\x1b" not in finished.stdout
    assert "ok           codec zstd: can be read" in finished.stdout.splitlines()
    assert all(line.startswith(("ok ", "warn ", "             → ")) for line in finished.stdout.splitlines())


def test_check_goes_on_when_the_broker_is_away(settings: dict[str, str]) -> None:
    """Without Kafka the database is checked all the same, and what cannot be checked is said."""
    server = f"127.0.0.1:{free_port()}"
    code, findings = run_check(**settings | {"REFERRALS_BOOTSTRAP_SERVERS": server})
    assert code == EXIT_FAILURE
    assert levels(findings[f"Kafka at {server}"]) == ["fail"]
    assert "REFERRALS_BOOTSTRAP_SERVERS" in findings[f"Kafka at {server}"][0]["remedy"]
    assert levels(findings["topics"] + findings["positions"]) == ["not checked", "not checked"]
    assert levels(findings["schema"] + findings["privileges"]) == ["ok", "ok"]


def test_check_goes_on_when_the_database_is_away(settings: dict[str, str], system: System) -> None:
    """Without PostgreSQL Kafka is checked all the same, and what cannot be checked is said."""
    code, findings = run_check(
        **settings | {"REFERRALS_DATABASE_URL": f"postgresql://worker:secret@127.0.0.1:{free_port()}/referrals"}
    )
    assert code == EXIT_FAILURE
    (subject,) = [subject for subject in findings if subject.startswith("PostgreSQL")]
    assert levels(findings[subject]) == ["fail"]
    assert "REFERRALS_DATABASE_URL" in findings[subject][0]["remedy"]
    assert levels(findings["schema"] + findings["privileges"] + findings["positions"]) == ["not checked"] * 3
    assert levels(findings[f"Kafka at {system.kafka.bootstrap_servers}"]) == ["ok"]
    assert "secret" not in str(findings)


def test_check_says_that_the_password_is_wrong_without_showing_it(
    settings: dict[str, str], postgres: Postgres, database: str
) -> None:
    """A wrong password fails in the server's words; the password itself is nowhere."""
    url = f"postgresql://postgres:hunter2@127.0.0.1:{postgres.tcp_port}/{database}"
    code, findings = run_check(**settings | {"REFERRALS_DATABASE_URL": url})
    assert code == EXIT_FAILURE
    (finding,) = findings[f"PostgreSQL postgres@127.0.0.1:{postgres.tcp_port}/{database}"]
    assert "password authentication failed" in finding["detail"]
    assert "hunter2" not in str(findings)


def test_check_names_the_command_when_the_schema_is_missing(settings: dict[str, str], postgres: Postgres) -> None:
    """A database without the schema fails with the command that makes it."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(name)
    try:
        code, findings = run_check(**settings | {"REFERRALS_DATABASE_URL": postgres.url(name)})
    finally:
        postgres.drop_database(name)
    assert code == EXIT_FAILURE
    assert [(it["level"], it["remedy"]) for it in findings["schema"]] == [("fail", "run `referrals migrate`")]
    assert levels(findings["privileges"] + findings["positions"]) == ["not checked", "not checked"]


def test_check_fails_when_the_schema_is_newer(settings: dict[str, str], system: System) -> None:
    """A database that a newer version has migrated fails, and a newer worker is what helps."""
    newer = MIGRATIONS[-1].version + 1
    system.conn.execute("insert into referral_migrations (version, name) values (%s, 'later')", [newer])
    code, findings = run_check(**settings)
    assert code == EXIT_FAILURE
    assert findings["schema"][0]["remedy"] == "install a newer worker"


def test_check_names_what_a_role_lacks(settings: dict[str, str], system: System, role: str) -> None:
    """A role that may only read fails with each privilege that it lacks and the statement that grants them."""
    database = system.conn.info.dbname
    system.conn.execute(f"revoke temporary on database {database} from public")
    code, findings = run_check(**settings | {"REFERRALS_DATABASE_URL": as_role(system.database_url, role)})
    assert code == EXIT_FAILURE
    temporary, tables = findings["privileges"]
    assert temporary["remedy"] == f'run `grant temporary on database "{database}" to "{role}"`'
    assert "insert on referral_usages" in tables["detail"]
    assert "update on referral_positions" in tables["detail"]
    assert "insert on referral_hours, update on referral_hours" in tables["detail"]
    assert "delete on referral_rejections" in tables["detail"]
    assert "delete on referral_usages" not in tables["detail"]
    assert "select on" not in tables["detail"]
    with psycopg.connect(system.database_url, autocommit=True) as owner:
        for remedy in (temporary["remedy"], tables["remedy"]):
            owner.execute(remedy.split("`")[1])
    _, findings = run_check(**settings | {"REFERRALS_DATABASE_URL": as_role(system.database_url, role)})
    assert levels(findings["privileges"]) == ["ok"]
    with psycopg.connect(system.database_url, autocommit=True) as owner:
        owner.execute(f"drop owned by {role}")


def as_role(url: str, role: str) -> str:
    return url.replace("postgresql://postgres@", f"postgresql://{role}@")


def test_check_fails_when_sessions_are_read_only(settings: dict[str, str], system: System, role: str) -> None:
    """A role whose sessions only read fails, with the statement that mends it."""
    system.conn.execute(f"alter role {role} set default_transaction_read_only = on")
    url = as_role(system.database_url, role)
    code, findings = run_check(**settings | {"REFERRALS_DATABASE_URL": url})
    assert code == EXIT_FAILURE
    assert levels(findings["writing"]) == ["fail"]
    system.conn.execute(findings["writing"][0]["remedy"].split("`")[1])
    _, findings = run_check(**settings | {"REFERRALS_DATABASE_URL": url})
    assert levels(findings["writing"]) == ["ok"]


def test_check_fails_with_the_positions_of_another_topic(settings: dict[str, str], system: System) -> None:
    """Positions of another topic fail: the database belongs to another system."""
    store_position(system, "other", 4)
    code, findings = run_check(**settings)
    assert code == EXIT_FAILURE
    assert "'other'" in findings["positions"][0]["detail"]


def store_position(system: System, topic: str, partition_count: int) -> None:
    system.conn.execute(
        "insert into referral_positions (topic, partition, partition_count, next_offset) values (%s, 0, %s, 7)",
        [topic, partition_count],
    )


def test_check_fails_when_the_topic_has_grown_since(settings: dict[str, str], system: System) -> None:
    """Positions that were stored with fewer partitions than the topic has fail and name the repair."""
    store_position(system, system.topic, 2)
    code, findings = run_check(**settings)
    assert code == EXIT_FAILURE
    assert findings["positions"][0]["detail"] == f"were stored with 2 partitions, {system.topic} has 4"
    assert "`referrals repair`" in findings["positions"][0]["remedy"]


def test_check_passes_positions_of_the_same_number_of_partitions(settings: dict[str, str], system: System) -> None:
    """Positions stored with as many partitions as the topic has are fine."""
    store_position(system, system.topic, 4)
    code, findings = run_check(**settings)
    assert code == 0
    assert levels(findings["positions"]) == ["ok"]


def test_check_warns_when_the_settings_want_another_number_of_partitions(
    settings: dict[str, str], system: System
) -> None:
    """The setting counts only when a topic is made: another number is worth a warning, and a worker may start."""
    code, findings = run_check(**settings | {"REFERRALS_PARTITIONS": "6"})
    assert code == 0
    assert "has 4 partitions, REFERRALS_PARTITIONS is 6" in findings[f"topic {system.topic}"][0]["detail"]


def test_check_warns_when_topics_are_missing(system: System) -> None:
    """A worker makes the topics that are missing, so that they are missing is worth a warning."""
    code, findings = run_check(**system.settings())
    assert code == 0
    assert "`referrals topics create`" in findings[f"topic {system.rejected_topic}"][0]["remedy"]


def test_check_fails_when_a_topic_is_compacted(settings: dict[str, str], system: System, admin) -> None:
    """A compacted topic keeps one event of each code: that fails."""
    entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, system.topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(20)
    code, findings = run_check(**settings)
    assert code == EXIT_FAILURE
    assert "cleanup.policy" in findings[f"topic {system.topic}"][0]["detail"]


def test_check_says_which_settings_are_wrong_and_checks_the_rest() -> None:
    """Settings that cannot be read fail one by one; what does not need them is checked."""
    code, findings = run_check(REFERRALS_WEB_PORT="99999")
    assert code == EXIT_FAILURE
    assert levels(findings["settings"]) == ["fail", "fail"]
    assert levels(findings["codec zstd"]) == ["ok"]
    assert levels(findings["Kafka"] + findings["PostgreSQL"]) == ["not checked", "not checked"]
