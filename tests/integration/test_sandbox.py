"""The embedded servers that all other tests stand on, and the demo that people see first."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from fix_kafka import end_offsets
from waiting import wait_until

from sandbox import jars, ports
from sandbox.demo import Options
from sandbox.errors import (
    AlreadyRunningError,
    CommandFailedError,
    JarsUnavailableError,
    OptionError,
    PortTakenError,
    ProcessEndedError,
)
from sandbox.events import bad_samples, samples
from sandbox.kafka import Kafka
from sandbox.postgres import Postgres
from sandbox.process import Process

PROJECT = Path(__file__).parents[2]
NO_NETWORK = "http://127.0.0.1:9"
START_AND_DIE = """
import os, signal, sys
from pathlib import Path
from sandbox.postgres import Postgres
server = Postgres(Path(sys.argv[1]), is_durable=False)
server.start()
os.kill(os.getpid(), signal.SIGKILL)
"""
RUN_DEMO = "import sys; from pathlib import Path; from sandbox.demo import main; sys.exit(main(Path(sys.argv[1])))"


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker of the test's own, to kill."""
    broker = Kafka(tmp_path / "kafka")
    yield broker
    broker.kill()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server of the test's own, to kill."""
    server = Postgres(tmp_path / "postgres", is_durable=False)
    yield server
    server.stop()


def running(text: str) -> list[int]:
    """Return the processes that have the text in their command line or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in told and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def test_kafka_keeps_acknowledged_records_and_its_address_when_killed(own_kafka: Kafka) -> None:
    """SIGKILL right after an acknowledgement loses nothing, and clients need no new address."""
    own_kafka.start()
    servers = own_kafka.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    for number in range(100):
        producer.produce("kept", str(number))
    assert producer.flush(20) == 0

    own_kafka.kill()
    assert ports.is_free(own_kafka.port)
    own_kafka.start()

    assert own_kafka.bootstrap_servers == servers
    assert end_offsets(own_kafka, "kept", 1) == {0: 100}


def test_kafka_says_its_last_lines_when_it_cannot_start(own_kafka: Kafka) -> None:
    """Why the broker ended comes back in the error, in its own words."""
    data = own_kafka.folder / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=99\n")

    with pytest.raises(ProcessEndedError, match="Stored node id 99") as raised:
        own_kafka.start()

    assert str(own_kafka.log) in raised.value.remedy


@pytest.mark.parametrize("server_type", [Kafka, Postgres])
def test_servers_are_alone_on_their_data(server_type: type[Kafka | Postgres], tmp_path: Path) -> None:
    """A second server on a folder is refused with the remedy, before it touches anything of the first one's."""
    first = server_type(tmp_path)
    first.start()
    try:
        before = {path: path.stat().st_ino for path in tmp_path.iterdir()}
        with pytest.raises(AlreadyRunningError, match=f"{tmp_path}: process {os.getpid()}") as raised:
            server_type(tmp_path).start()
        assert "another folder" in raised.value.remedy
        assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == before
        first.check()
    finally:
        first.kill()


def test_kafka_refuses_a_port_that_is_taken(kafka: Kafka, tmp_path: Path) -> None:
    """A port given on purpose is not replaced in silence."""
    with pytest.raises(PortTakenError, match=str(kafka.port)):
        Kafka(tmp_path, port=kafka.port).start()


def test_fetch_jars_needs_no_network_once_they_are_there(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start after the first works offline."""
    monkeypatch.setenv("HTTPS_PROXY", NO_NETWORK)
    assert kafka.pid
    assert all(jar.is_file() for jar in jars.fetch_jars(jars.KAFKA, jars.JARS_FOLDER))


def test_fetch_jars_says_what_to_do_when_there_is_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed fetch leaves nothing that a later one could take for jars."""
    monkeypatch.setenv("HTTPS_PROXY", NO_NETWORK)
    monkeypatch.setenv("NO_PROXY", "")

    with pytest.raises(JarsUnavailableError, match="check the network"):
        jars.fetch_jars(jars.KAFKA, tmp_path)

    assert not jars.are_fetched(jars.KAFKA, tmp_path)
    assert not list(tmp_path.glob("*/*"))


def test_postgres_keeps_commits_and_its_address_when_killed_under_a_busy_session(own_postgres: Postgres) -> None:
    """SIGKILL ends the server and a session in the middle of a statement; what was committed is there again."""
    own_postgres.start()
    own_postgres.create_database("kept")
    url = own_postgres.url("kept")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept (number int)")
        connection.execute("insert into kept values (1)")
    with psycopg.connect(url, autocommit=True) as busy, psycopg.connect(url, autocommit=True) as watcher:
        errors: list[BaseException] = []

        def count() -> None:
            try:
                busy.execute("select count(*) from generate_series(1, 10000000000)")
            except psycopg.OperationalError as error:
                errors.append(error)

        counting = threading.Thread(target=count)
        counting.start()
        is_active = "select state = 'active' from pg_stat_activity where pid = %s"
        wait_until(
            "the session is busy", lambda: watcher.execute(is_active, [busy.info.backend_pid]).fetchone() == (True,)
        )
        own_postgres.kill()
        counting.join(20)
        assert errors

    own_postgres.start()

    assert own_postgres.url("kept") == url
    with psycopg.connect(url) as connection:
        assert connection.execute("select number from kept").fetchall() == [(1,)]


def test_postgres_serves_from_a_folder_too_deep_for_a_socket(tmp_path: Path) -> None:
    """A clone may lie so deep that no socket's path fits; clients get an address that works, and nothing stays."""
    server = Postgres(tmp_path / ("deep" * 25) / ("deeper" * 15), is_durable=False)
    server.start()
    try:
        with psycopg.connect(server.url("postgres")) as connection:
            sockets = Path(connection.info.host)
    finally:
        server.stop()
    assert not sockets.is_relative_to(tmp_path)
    assert not sockets.exists()


def test_postgres_over_tcp_wants_its_password(postgres: Postgres) -> None:
    """Other people on the machine can reach the port, so it is not open to them."""
    with psycopg.connect(postgres.tcp_url("postgres")) as connection:
        assert connection.info.host == "127.0.0.1"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=postgres.tcp_port, user="postgres", password="wrong")


def test_free_port_is_given_once() -> None:
    """A port that was chosen is nobody else's, in this process and in others, long before a server listens there."""
    port = ports.free_port()
    ask = "import sys; from sandbox.ports import free_port; print(free_port(int(sys.argv[1])))"
    asked = subprocess.run([sys.executable, "-c", ask, str(port)], cwd=PROJECT, capture_output=True, check=True)
    assert ports.is_free(port)
    assert int(asked.stdout) != port
    assert ports.free_port(port) != port


def test_postgres_creates_a_database_once(postgres: Postgres) -> None:
    """One that is there is an error or welcome, as asked; dropping one twice is none."""
    postgres.create_database("one more")
    postgres.create_database("one more", exist_ok=True)
    with pytest.raises(CommandFailedError, match="already exists"):
        postgres.create_database("one more")
    postgres.drop_database("one more")
    postgres.drop_database("one more")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_postgres_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A test run or demo that dies by SIGKILL leaves no server behind."""
    parent = subprocess.run([sys.executable, "-c", START_AND_DIE, str(tmp_path)], cwd=PROJECT, timeout=60, check=False)

    assert parent.returncode == -signal.SIGKILL
    wait_until("the server is gone", lambda: not running(str(tmp_path)), timeout_s=20)


def test_process_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """Linux ties a child to its parent's thread; ours must hang on the whole program."""
    started: list[Process] = []
    command = [sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"]
    thread = threading.Thread(target=lambda: started.append(Process("waiting", command, log=tmp_path / "log")))
    thread.start()
    thread.join()
    process = started[0]

    process.wait_until(lambda: "here" in process.output(), deadline_s=20, remedy="none")

    assert process.returncode is None
    process.kill()
    assert process.returncode == -signal.SIGKILL


def test_process_stop_ends_descendants_that_ignore_it(tmp_path: Path) -> None:
    """What does not end in time is killed, with the children it has."""
    stubborn = (
        "import signal, os; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); print('here', flush=True)\n"
    )
    command = [sys.executable, "-c", stubborn + "while True: signal.pause()", str(tmp_path)]
    process = Process("stubborn", command, log=tmp_path / "log")
    process.wait_until(lambda: process.output().count("here") == 2, deadline_s=20, remedy="none")

    process.stop(bound_s=0.2)

    assert not running(str(tmp_path))


def test_samples_are_mostly_good_and_the_bad_ones_are_of_every_kind() -> None:
    """The demo shows duplicates and each reject reason that a producer can cause, spread over the whole run."""
    records = samples(1000, run="test")
    bad = [number for number, record in enumerate(records) if record.reason]

    assert len(records) == 1000
    assert len(bad) == len(bad_samples())
    assert max(bad) - min(bad) > 800
    repeated = sum(record.is_repeated for record in records)
    assert 0 < repeated < 60
    assert len({record.value for record in records}) == len(records) - repeated


@pytest.mark.parametrize("variables", [{"FRESH": "yes"}, {"WORKERS": "0"}, {"WORKERS": "many"}])
def test_options_refuse_what_they_do_not_understand(variables: dict[str, str]) -> None:
    """A misspelt option is said, not ignored."""
    with pytest.raises(OptionError, match="is not understood"):
        Options.from_environment(variables)


def test_demo_leaves_nothing_running_when_interrupted_and_is_alone_in_its_folder(tmp_path: Path) -> None:
    """Ctrl-C while events are published stops everything in order; a second demo in the folder says who is first."""
    log = tmp_path / "output"
    command = [sys.executable, "-c", RUN_DEMO, str(tmp_path / "sandbox")]
    with log.open("w") as output:
        demo = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output)
    try:
        wait_until("events are published", lambda: "publishing" in log.read_text() or demo.poll() is not None)
        second = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert "already running" in second.stdout
        assert f"process {demo.pid}" in second.stdout
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0, log.read_text()
    finally:
        demo.kill()
        demo.wait()

    assert log.read_text().endswith("stopping ...\nstopped\n")
    assert not running(str(tmp_path))
