"""
The demo, told in order: servers, schema, workers, sample events, addresses; then it serves until Ctrl-C.

All it keeps lies in one folder of the project and stays between runs.
"""

import asyncio
import logging
import os
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sandbox.alone import LOCK_NAME, alone
from sandbox.errors import OptionError, SandboxError, StepFailedError
from sandbox.events import POPULAR_CODE, USERS, samples
from sandbox.interrupts import Interrupts
from sandbox.jars import JARS_FOLDER, KAFKA, KAFKA_VERSION, are_fetched, fetch_jars
from sandbox.kafka import Kafka
from sandbox.ports import free_port
from sandbox.postgres import Postgres, program
from sandbox.process import kill_all
from sandbox.publish import publish
from sandbox.referrals import PREFIX, Worker, migrate

FOLDER: Final = JARS_FOLDER.parent
KEPT_WHEN_FRESH: Final = frozenset({JARS_FOLDER.name, LOCK_NAME})
REMEDY_WHEN_NOT_ALONE: Final = "stop that one first, with Ctrl-C in its terminal"
KAFKA_PORT: Final = 9092
DATABASE: Final = "referrals"
USAGES_TOPIC: Final = "referral-usages"
FIRST_EVENTS: Final = 6000
MORE_EVENTS: Final = 1500
PARTITIONS: Final = 8
WORKERS_MAX: Final = PARTITIONS  # more would have nothing to do
WATCH_INTERVAL_S: Final = 0.5
SHARING_DEADLINE_S: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """
    What a person can ask of the demo, through the environment.

    Args:
        is_fresh: FRESH, start over with empty data; the jars stay.
        worker_count: WORKERS, how many worker processes to run.
    """

    is_fresh: bool = False
    worker_count: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Options":
        """
        Read the options.

        Raises:
            OptionError: a value that is not understood.
        """
        is_fresh = environment.get("FRESH", "0")
        if is_fresh not in {"", "0", "1"}:
            raise OptionError(f"FRESH={is_fresh!r} is not understood", "use `make demo FRESH=1` to start over")
        count = environment.get("WORKERS", "") or "1"
        if not count.isdecimal() or not 1 <= int(count) <= WORKERS_MAX:
            raise OptionError(f"WORKERS={count!r} is not understood", f"use a number from 1 to {WORKERS_MAX}")
        return cls(is_fresh == "1", int(count))


class Demo:
    """
    One run of the demo.

    Args:
        console: where it talks to the person.
        interrupts: how the person ends it.
        options: what the person asked for.
        folder: where everything is kept.
    """

    def __init__(self, console: Console, interrupts: Interrupts, options: Options, folder: Path) -> None:
        self._console = console
        self._interrupts = interrupts
        self._options = options
        self._folder = folder
        self._published = folder / "published"
        self._postgres = Postgres(folder / "postgres")
        self._kafka = Kafka(folder / "kafka", port=free_port(KAFKA_PORT))
        settings = {
            "BOOTSTRAP_SERVERS": self._kafka.bootstrap_servers,
            "DATABASE_URL": self._postgres.url(DATABASE),
            "PARTITIONS": str(PARTITIONS),
        }
        self._environment = {PREFIX + name: value for name, value in settings.items()}
        self._workers = [
            Worker(number, folder, self._environment) for number in range(1, self._options.worker_count + 1)
        ]

    def run(self) -> None:
        """
        Set everything up and serve until the person ends it, by KeyboardInterrupt; after that nothing of it runs.

        Raises:
            SandboxError: a step failed, or something ended by itself.
        """
        with alone(self._folder, "a demo", REMEDY_WHEN_NOT_ALONE), ExitStack() as started:
            logging.basicConfig(filename=self._folder / "demo.log", filemode="w", level=logging.WARNING)
            try:
                if self._options.is_fresh:
                    self._start_over()
                self._start_servers(started)
                self._start_workers(started)
                lock = self._folder / LOCK_NAME
                lock.write_text(f"process {os.getpid()}, {self._workers[0].url}", encoding="ascii")
                self._publish()
                self._show_sharing()
                self._show_addresses()
                self._watch()
            finally:
                self._interrupts.begin_stop()
                self._console.print("\nstopping ...")

    def _start_over(self) -> None:
        with self._step("deleting the data of earlier runs"):
            for path in self._folder.iterdir():
                if path.is_dir() and path.name not in KEPT_WHEN_FRESH:
                    shutil.rmtree(path)
            self._published.unlink(missing_ok=True)

    def _start_servers(self, started: ExitStack) -> None:
        if not are_fetched(KAFKA, JARS_FOLDER):
            with self._step(f"fetching Kafka {KAFKA_VERSION} (about 45 MB, only this once)"):
                fetch_jars(KAFKA, JARS_FOLDER)
        with self._step("starting PostgreSQL"):
            started.callback(self._postgres.stop)
            self._postgres.start()
            self._postgres.create_database(DATABASE, exist_ok=True)
        with self._step("starting Kafka"):
            started.callback(self._kafka.stop)
            self._kafka.start()
        if self._kafka.port != KAFKA_PORT:
            self._say(f"port {KAFKA_PORT} is taken: Kafka listens on {self._kafka.port} instead")

    def _start_workers(self, started: ExitStack) -> None:
        with self._step("migrating the database"):
            migrate(self._environment)
        for worker in self._workers:
            with self._step(f"starting {worker.name}"):
                started.callback(worker.stop)
                worker.start()
            if worker.port != worker.usual_port:
                self._say(f"port {worker.usual_port} is taken: {worker.name} serves on {worker.port} instead")

    def _publish(self) -> None:
        run = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        records = samples(MORE_EVENTS if self._published.exists() else FIRST_EVENTS, run=run)
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with self._step("publishing sample events"), Progress(*columns, console=self._console) as progress:
            task = progress.add_task("publishing sample events", total=len(records))

            def on_progress(count: int) -> None:
                self._check()
                progress.advance(task, count)

            self._run_until_interrupted(
                publish(self._kafka.bootstrap_servers, USAGES_TOPIC, records, on_progress=on_progress)
            )
            self._published.touch()
        repeated = sum(record.is_repeated for record in records)
        reasons = Counter(record.reason for record in records if record.reason)
        self._say(f"{len(records):,} events: {len(records) - repeated - reasons.total():,} usages,")
        self._say(f"{repeated} repeated event ids that count once,")
        self._say(f"{reasons.total()} bad ones kept as rejects: {', '.join(sorted(reasons))}")

    def _run_until_interrupted(self, work: Coroutine[None, None, None]) -> None:
        async def interruptible() -> None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None  # noqa: S101 - inside a coroutine there is always one
            with self._interrupts.calling(lambda: loop.call_soon_threadsafe(task.cancel)):
                await work

        try:
            asyncio.run(interruptible())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    def _show_sharing(self) -> None:
        if len(self._workers) == 1:
            return
        with self._step("waiting for the workers to share the partitions"):
            deadline = time.monotonic() + SHARING_DEADLINE_S
            while not self._is_shared(shown := self._workers[0].partitions_by_url()):
                self._check()
                if time.monotonic() > deadline:
                    raise StepFailedError(
                        f"the workers did not share the partitions within {SHARING_DEADLINE_S:.0f} s: {shown}",
                        f"their logs are in {self._folder}; `make demo FRESH=1` starts over with empty data",
                    )
                time.sleep(WATCH_INTERVAL_S)
        for worker in self._workers:
            self._say(f"{worker.name} reads partitions {', '.join(map(str, shown[worker.url]))}")

    def _is_shared(self, shown: Mapping[str, list[int]]) -> bool:
        held = [partition for partitions in shown.values() for partition in partitions]
        return (
            shown.keys() == {worker.url for worker in self._workers}
            and all(shown.values())
            and len(held) == len(set(held)) == PARTITIONS
        )

    def _show_addresses(self) -> None:
        publish_one = [*_referrals_command(), "publish", "--code", POPULAR_CODE, "--user", USERS[-1]]
        servers = f"{PREFIX}BOOTSTRAP_SERVERS={self._kafka.bootstrap_servers}"
        for worker in self._workers:
            self._console.print(f"\n{worker.name}", style="bold")
            self._say(f"start page      {worker.url}/")
            self._say(f"a popular code  {worker.url}/codes/{POPULAR_CODE}")
            self._say(f"as JSON         {worker.url}/api/v1/codes/{POPULAR_CODE}/stats")
        self._console.print("\nPublish one more event", style="bold")
        self._say(f"{servers} {shlex.join(publish_one)}")
        self._console.print("\nLook into the database", style="bold")
        self._say(shlex.join([_short(program("psql")), self._postgres.url(DATABASE)]))
        self._console.print("\nLogs and data", style="bold")
        self._say(_short(self._folder))
        self._console.print("\nCtrl-C stops everything; the data stay, `make demo FRESH=1` starts over.")

    def _watch(self) -> None:
        while True:
            self._check()
            # nothing waits for this pause: it only sets how soon an unexpected end is noticed
            time.sleep(WATCH_INTERVAL_S)

    def _check(self) -> None:
        services: list[Worker | Kafka | Postgres] = [*self._workers, self._kafka, self._postgres]
        for service in services:
            service.check()

    def _say(self, text: str) -> None:
        # unwrapped and unmarked, so that it can be copied
        self._console.print(f"  {text}", soft_wrap=True, highlight=False, markup=False)

    @contextmanager
    def _step(self, doing: str) -> Iterator[None]:
        self._console.print(f"{doing} ...")
        begin = time.monotonic()
        try:
            yield
        except SandboxError:
            raise
        except Exception as error:
            log.exception("%s failed", doing)
            what = f"{doing} failed: {type(error).__name__}: {error}"
            remedy = f"the details are in {self._folder / 'demo.log'}; `make demo FRESH=1` starts over with empty data"
            raise StepFailedError(what, remedy) from error
        self._say(f"done in {time.monotonic() - begin:.1f} s")


def main(folder: Path = FOLDER) -> int:
    """Run the demo and return the exit code: 0 when a person ended it, 1 when it failed."""
    console = Console()
    interrupts = Interrupts()
    try:
        Demo(console, interrupts, Options.from_environment(os.environ), folder).run()
    except KeyboardInterrupt:
        console.print("stopped")
    except SandboxError as error:
        console.print(f"\n{error.what}", style="red", soft_wrap=True, highlight=False, markup=False)
        console.print(error.remedy, soft_wrap=True, highlight=False, markup=False)
        return 1
    finally:
        # what was interrupted between its birth and its registration with us
        kill_all()
    return 0


def _referrals_command() -> list[str]:
    installed = Path(sys.executable).with_name("referrals")
    return [_short(installed)] if installed.exists() else [_short(Path(sys.executable)), "-m", "worker.cli"]


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
