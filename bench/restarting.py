"""How soon a worker that starts again stores its first event, while its group and its database are up to date."""

import time
from typing import Final
from uuid import uuid4

import psycopg

from bench.publishing import Draft, Publisher
from bench.sql import fetch_row
from sandbox.errors import ProcessTimeoutError
from sandbox.referrals import Worker
from schemas import UsageEvent

LOOK_AGAIN_S: Final = 0.02
STORED_DEADLINE_S: Final = 60.0


def measure_restart(worker: Worker, bootstrap_servers: str, topic: str, conn: psycopg.Connection) -> float:
    """
    Stop a worker that has nothing to do, start it again and return the seconds until it has stored an event.

    They begin before the process and before the event, which is published while nobody reads, and end with the commit
    by the database's clock.
    Raises:
        SandboxError: the worker did not start, or the event was not acknowledged or not stored.
    """
    worker.stop()
    publisher = Publisher(bootstrap_servers, topic)
    event_id = uuid4()
    event = UsageEvent(code_uuid=str(uuid4()), used_by_uuid=str(uuid4()), event_id=str(event_id))
    begin_s = time.time()
    publisher.publish(Draft(event.key(), event.value()))
    publisher.finish()
    worker.start()
    deadline = time.monotonic() + STORED_DEADLINE_S
    while not (row := fetch_row(conn, "committed_at", uuid=event_id)):
        worker.check()
        if time.monotonic() > deadline:
            raise ProcessTimeoutError(f"{worker.name} has not stored an event in time", "see its log")
        time.sleep(LOOK_AGAIN_S)
    return row[0] - begin_s
