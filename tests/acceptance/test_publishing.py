"""Publishing by command and by HTTP, as far as the rows of a real worker."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from uuid import UUID

from confluent_kafka.admin import AdminClient, NewTopic
from fix_worker import System, WorkerProcess
from oracle import stored_uuids
from publisher import identity, make_events
from waiting import wait_until

from sandbox.kafka import Kafka
from schemas import UsageEvent


def post(worker: WorkerProcess, event: UsageEvent) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{worker.port}/api/v1/usages", event.value(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_published_file_is_what_a_worker_stores(system: System, tmp_path: Path) -> None:
    """Every event of a file that the command has published is a row, and nothing else is."""
    events = make_events(5_000, codes=50, users=100, repeated=0.02)
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"".join(event.value() + b"\n" for event in events))
    command = [sys.executable, "-m", "worker.cli", "publish", str(path)]
    subprocess.run(command, env={**os.environ, **system.settings()}, check=True, timeout=120)
    system.publisher.acknowledged |= {identity(event) for event in events}
    system.start_worker().wait_ready()
    system.wait_drained()
    system.assert_exact()


def test_posted_event_is_the_row_that_the_answer_names(system: System) -> None:
    """The row's uuid is the answer's, with and without event_id; sent again with it, the event counts once."""
    worker = system.start_worker()
    worker.wait_ready()
    for number, event in enumerate(make_events(10, codes=10, users=10)):
        given = event if number % 2 else event.model_copy(update={"event_id": None})
        status, answer = post(worker, given)
        assert status == 202
        again = event.model_copy(update={"event_id": answer["event_id"]})
        assert post(worker, again) == (202, answer)
        system.publisher.acknowledged.add(UUID(answer["uuid"]))
    system.wait_drained()
    system.assert_exact()
    assert system.row_count() == 10
    assert "do not hash to" not in worker.text()


def test_posting_while_the_broker_is_away_is_told_and_can_be_repeated(tmp_path: Path, database_url: str) -> None:
    """Without a broker the answer is 503 in bounded time; the event sent again later is one row."""
    broker = Kafka(tmp_path / "kafka")
    system = None
    try:
        broker.start()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        admin.create_topics([NewTopic("usages", 4, 1)])["usages"].result(20)
        system = System(broker, admin, "usages", 4, database_url, tmp_path)
        worker = system.start_worker()
        worker.wait_ready()
        broker.kill()
        (event,) = make_events(1, codes=1, users=1)
        status, problem = post(worker, event)
        assert status == 503
        assert repr(event.event_id) in problem["detail"]
        broker.start()
        wait_until("the event is taken", lambda: post(worker, event)[0] == 202)
        wait_until("it is stored", lambda: stored_uuids(system.conn) == {identity(event)})
        system.wait_drained()
        assert system.row_count() == 1
    finally:
        if system is not None:
            system.close()
        broker.stop()
