"""Rejects published again, with real processes: by command and over HTTP, with and without a worker that reads."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

from fix_worker import System, WorkerProcess
from publisher import make_events
from waiting import wait_until


def referrals(system: System, *command: str) -> subprocess.CompletedProcess[str]:
    """Run `referrals rejections ...` with the system's settings."""
    finished = subprocess.run(
        [sys.executable, "-m", "worker.cli", "rejections", *command],
        env={**os.environ, **system.settings()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished


def post(worker: WorkerProcess, path: str) -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{worker.port}{path}", method="POST")
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.status == 202
        return json.load(response)


def rejects(system: System) -> list[tuple]:
    return system.conn.execute(
        "select reason, attempts, coalesce(retried_at > rejected_at, false), count(*) from referral_rejections"
        " group by 1, 2, 3 order by 1, 2, 3"
    ).fetchall()


def test_retried_rejects_move_when_their_reason_is_gone(system: System) -> None:
    """What a constraint refused is stored once it is gone, what is still wrong comes back, and kills change nothing."""
    events = make_events(600, codes=10, users=20)
    blocked = {event.used_by_uuid for event in events[:5]}
    refused = [event for event in events if event.used_by_uuid in blocked]
    names = ", ".join(f"'{user}'" for user in sorted(blocked))
    system.conn.execute(f"alter table referral_usages add constraint no_fraud check (used_by_uuid not in ({names}))")
    first = system.start_worker()
    first.wait_ready()
    system.publisher.publish(events)
    system.publisher.publish_bad(b'{"code_uuid": "<b>"}\r\n', b"\x00\xff", headers=[("n", None), ("why", b"\xff")])
    system.wait_drained()
    assert rejects(system) == [("missing_field", 0, False, 1), ("refused_by_database", 0, False, len(refused))]

    # still refused: the same rows again
    assert post(first, "/api/v1/rejections/retry?reason=refused_by_database")["retried"] == len(refused)
    again = [("missing_field", 0, False, 1), ("refused_by_database", 1, False, len(refused))]
    wait_until("the retries are rejected again", lambda: rejects(system) == again)

    # nobody reads while these are published, and twice
    system.conn.execute("alter table referral_usages drop constraint no_fraud")
    first.send(signal.SIGKILL)
    first.wait()
    for attempt in (2, 3):
        output = referrals(system, "retry", "--reason", "refused_by_database", "--yes").stdout
        assert output.startswith(f"published {len(refused)} again")
        assert rejects(system)[1] == ("refused_by_database", attempt, True, len(refused))
    second = system.start_worker()
    wait_until("the first retries are stored", lambda: sum(row[3] for row in rejects(system)) <= len(refused))
    second.send(signal.SIGKILL)
    third = system.start_worker()
    third.wait_ready()
    wait_until("only the invalid one is left", lambda: rejects(system) == [("missing_field", 0, False, 1)])

    ((id_,),) = system.conn.execute("select id::text from referral_rejections").fetchall()
    assert post(third, f"/api/v1/rejections/{id_}/retry") == {"id": id_, "attempt": 1}
    wait_until("it comes back", lambda: rejects(system) == [("missing_field", 1, False, 1)])
    status, told = third.get(f"/api/v1/rejections/{id_}")
    assert (status, told["attempts"], told["waiting"]) == (200, 1, False)
    assert [header["name"] for header in told["headers"]] == ["n", "why"]
    system.wait_drained()
    system.assert_exact()


def test_rejects_are_listed_without_kafka_and_exported_whole(system: System) -> None:
    """The commands tell what PostgreSQL holds, and need nothing else."""
    system.start_worker().wait_ready()
    for value in (b"[1]", b"[2]", None):
        system.publisher.publish_raw(value)
    system.wait_drained()
    for worker in system.workers:
        worker.kill()
    lines = referrals(system, "export").stdout.splitlines()
    assert {json.loads(line)["value"] for line in lines} == {"WzFd", "WzJd", None}
    assert [
        json.loads(line)["reason"] for line in referrals(system, "export", "--reason", "empty").stdout.splitlines()
    ] == ["empty"]
    listed = referrals(system, "list", "--reason", "not_an_object").stdout.splitlines()
    assert len(listed) == 3
    assert listed[-1] == "2 not_an_object, 1 empty"
