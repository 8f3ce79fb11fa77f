"""
A worker with a fault: `faulty_worker.py STEP SIGNAL RUN CLOCK_OFF_S`.

It sends itself a signal at a chosen step of one of its runs, its clock is so many seconds ahead, its recovery ends in
silence, or the coordinator of its group is loading. It is the worker's own program, put together by its own `build()`,
with these steps wrapped:

- `in-copy`: half of the run's rows are sent;
- `before-commit`: everything is written, the transaction is open and idle;
- `after-commit`: the transaction is committed, the table does not show it;
- `after-show`: the table shows it, the offset is not committed;
- `recovery`: no signal, but Faust waits for no answer of Kafka in its recovery, so that every broker is too slow, and
  the worker waits for the recovery only `RECOVERY_TIMEOUT_S`;
- `joining`: no signal, but of the answers that end its joining the group every other one says that the coordinator is
  loading, and the group is not told who has which partition;
- `none`: no step, so no signal.
"""

import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import count
from types import SimpleNamespace
from typing import Any, Self

import faust
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.protocol.group import SyncGroupRequest
from psycopg import AsyncConnection, AsyncCopy, AsyncCursor

from worker import watchdog
from worker.agents import UsageRuns
from worker.app import build
from worker.commands.worker import run
from worker.database import Database
from worker.epoch import Epoch
from worker.process import WorkerProcess
from worker.runs.lanes import Retry
from worker.runs.run import Run
from worker.settings import Settings

STEP, SIGNAL, RUN, CLOCK_OFF_S = sys.argv[1], *map(int, sys.argv[2:])
RECOVERY_TIMEOUT_S = 1.0

_run: ContextVar[Run | None] = ContextVar("run", default=None)
_reached = 0


def reach(step: str) -> None:
    """Send the signal when it is time; a frozen worker goes on from here when it is woken."""
    global _reached  # noqa: PLW0603 - one for the process, as the signal is
    run = _run.get()
    if step != STEP or run is None:
        return
    _reached += 1
    if _reached == RUN:
        where = f"{run.topic}[{run.partition}] from {run.start} to before {run.next_offset}"
        os.write(sys.stderr.fileno(), f"fault at {step}: {where}\n".encode())
        os.kill(os.getpid(), SIGNAL)


class Wrapped:
    """An object with some of its methods replaced by those of the subclass."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class SteppedCopy(Wrapped):
    """Writes rows in two halves."""

    _inner: AsyncCopy

    async def write(self, rows: bytes) -> None:
        half = len(rows) // 2
        await self._inner.write(rows[:half])
        reach("in-copy")
        await self._inner.write(rows[half:])


class SteppedCursor(Wrapped):
    _inner: AsyncCursor

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._inner.__aexit__(*error)

    @asynccontextmanager
    async def copy(self, *arguments: Any) -> AsyncIterator[SteppedCopy]:
        async with self._inner.copy(*arguments) as copy:
            yield SteppedCopy(copy)


class SteppedConnection(Wrapped):
    """Takes transactions through their steps; those of no run do not count."""

    _inner: AsyncConnection

    def cursor(self, **options: Any) -> SteppedCursor:
        return SteppedCursor(self._inner.cursor(**options))

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[Any]:
        async with self._inner.transaction(**options) as transaction:
            yield transaction
            reach("before-commit")
        reach("after-commit")


class SteppedDatabase(Database):
    """Lends connections that take steps."""

    @asynccontextmanager
    async def writing(self, epoch: Epoch) -> AsyncIterator[Any]:
        async with super().writing(epoch) as conn:
            yield SteppedConnection(conn)


class SteppedRuns(UsageRuns):
    """Knows which run a step belongs to."""

    async def process(self, run: Run, retry: Retry) -> bool:
        token = _run.set(run)
        try:
            is_done = await super().process(run, retry)
            if is_done:
                reach("after-show")
            return is_done
        finally:
            _run.reset(token)


async def wait_for_nothing(app: faust.App, *_revoked: Any, **_options: Any) -> None:
    """Have Faust give up on the recovery that follows."""
    app.conf.broker_request_timeout = 0


def load_now_and_then() -> None:
    """Have the coordinator load the group each time that a member has joined it."""
    send = GroupCoordinator._send_req
    answers = count()

    async def send_request(coordinator: GroupCoordinator, request: Any) -> Any:
        if isinstance(request, SyncGroupRequest) and next(answers) % 2 == 0:
            os.write(sys.stderr.fileno(), b"fault at joining: the coordinator is loading\n")
            return SimpleNamespace(error_code=GroupLoadInProgressError.errno)
        return await send(coordinator, request)

    GroupCoordinator._send_req = send_request


def build_faulty(settings: Settings, *args: Any, **options: Any) -> WorkerProcess:
    """Put a worker together with its steps wrapped and its clock off."""
    process = build(
        settings,
        *args,
        clock=lambda: time.time() + CLOCK_OFF_S,
        database=SteppedDatabase(settings),
        handler_type=SteppedRuns,
        recovery_timeout_s=RECOVERY_TIMEOUT_S if STEP == "recovery" else watchdog.RECOVERY_TIMEOUT_S,
        **options,
    )
    if STEP == "recovery":
        process.app.on_partitions_revoked.connect(wait_for_nothing)
    if STEP == "joining":
        load_now_and_then()
    return process


if __name__ == "__main__":
    sys.exit(run(build_faulty))
