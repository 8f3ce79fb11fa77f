"""The project's own command as child processes: one migration, then workers."""

import http.client
import json
import os
import signal
from pathlib import Path
from typing import Final

from sandbox.errors import CommandFailedError
from sandbox.ports import LOOPBACK, free_port
from sandbox.process import Process, python_command, run_tool

PREFIX: Final = "REFERRALS_"
WEB_PORT: Final = 8080
READY_DEADLINE_S: Final = 90.0
# what the worker grants what is in flight, and what we grant the worker: a person is waiting
STOP_TIMEOUT_S: Final = 5
STOP_BOUND_S: Final = 15.0
REQUEST_TIMEOUT_S: Final = 5.0


def migrate(environment: dict[str, str]) -> None:
    """
    Bring the database to the worker's schema.

    Raises:
        CommandFailedError: with the command's own words.
    """
    result = run_tool("the migration", _command("migrate"), environment=_merged(environment))
    if result.returncode != 0:
        what = f"`referrals migrate` ended with code {result.returncode}:\n{result.stdout.strip()}"
        raise CommandFailedError(what, "`make demo FRESH=1` starts over with an empty database")


class Worker:
    """
    One `referrals worker` process.

    Args:
        number: from 1 on; names its folder and log.
        folder: the sandbox.
        environment: its settings but for those that tell one worker from another.
    """

    def __init__(self, number: int, folder: Path, environment: dict[str, str]) -> None:
        self.name = f"worker {number}"
        self.log = folder / f"worker-{number}.log"
        self.usual_port = WEB_PORT + number - 1
        self.port = self.usual_port
        self._data = folder / f"worker-{number}"
        self._environment = environment
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Its start page; known once it was started."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process id; None when it was not started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """
        Start the process on its usual port or another free one, and return once it says that it is ready.

        Raises:
            ProcessEndedError, ProcessTimeoutError: it did not become ready; its last lines are in the message.
        """
        self.port = free_port(self.usual_port)
        self._data.mkdir(exist_ok=True)
        settings = {
            "WEB_HOST": LOOPBACK,
            "WEB_PORT": str(self.port),
            "DATA_DIR": str(self._data),
            "STOP_TIMEOUT_S": str(STOP_TIMEOUT_S),
        }
        environment = _merged(self._environment | {PREFIX + name: value for name, value in settings.items()})
        self._process = Process(self.name, _command("worker"), log=self.log, environment=environment)
        self._process.wait_until(self._is_ready, deadline_s=READY_DEADLINE_S, remedy=self._remedy())

    def check(self) -> None:
        """
        Do nothing as long as the worker runs.

        Raises:
            ProcessEndedError: it has ended by itself.
        """
        if self._process:
            self._process.check(self._remedy())

    def stop(self) -> None:
        """Let it finish what is in flight, or kill it when that takes too long."""
        if self._process:
            self._process.stop(signal.SIGTERM, bound_s=STOP_BOUND_S)
            self._process = None

    def partitions_by_url(self) -> dict[str, list[int]]:
        """Return what the overview shows: each worker's URL, and the partitions that it reads; empty for no answer."""
        answer = self._get("/api/v1/workers")
        if answer is None:
            return {}
        return {item["url"]: [each["partition"] for each in item["partitions"]] for item in json.loads(answer)["items"]}

    def _is_ready(self) -> bool:
        return self._get("/readyz") is not None

    def _get(self, path: str) -> bytes | None:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=REQUEST_TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read() if response.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _remedy(self) -> str:
        return f"its whole log is in {self.log}; `make demo FRESH=1` starts over with empty data"


def _command(name: str) -> list[str]:
    return python_command("-m", "worker.cli", name)


def _merged(environment: dict[str, str]) -> dict[str, str]:
    # settings that a person exported for another system must not leak into the demo
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return inherited | environment
