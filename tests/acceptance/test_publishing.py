"""Publishing by command and by HTTP, as far as the rows of a real worker."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

from fix_worker import System
from publisher import identity, make_events


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
        status, answer = worker.post_event(given)
        assert status == 202
        again = event.model_copy(update={"event_id": answer["event_id"]})
        assert worker.post_event(again) == (202, answer)
        system.publisher.acknowledged.add(UUID(answer["uuid"]))
    system.wait_drained()
    system.assert_exact()
    assert system.row_count() == 10
    assert "do not hash to" not in worker.text()
