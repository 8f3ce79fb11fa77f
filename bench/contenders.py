"""The contenders: each is one process that empties a topic into the table `referral_usages` of a database."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from sandbox.ports import free_port
from sandbox.process import Process, python_command
from sandbox.referrals import PREFIX


class Task(NamedTuple):
    """What a contender works on: the topic is the same for all, the group and the database are its own."""

    bootstrap_servers: str
    topic: str
    group: str
    database_url: str
    folder: Path


class Contender(NamedTuple):
    """
    One of those compared.

    Args:
        start: starts its process and returns at once; the process runs until SIGTERM.
        has_statistics: it keeps `referral_code_stats`, which is then checked.
    """

    name: str
    start: Callable[[Task], Process]
    has_statistics: bool


def _start_bare_loop(task: Task) -> Process:
    arguments = (task.bootstrap_servers, task.topic, task.group, task.database_url)
    command = python_command("-m", "bench.bare_loop", *arguments)
    return Process("the bare loop", command, log=task.folder / "bare-loop.log")


def _start_worker(task: Task) -> Process:
    """Start a worker whose settings are the defaults, but for what says where things are."""
    settings = {
        "BOOTSTRAP_SERVERS": task.bootstrap_servers,
        "DATABASE_URL": task.database_url,
        "APP_ID": task.group,
        "USAGES_TOPIC": task.topic,
        "REJECTED_TOPIC": f"{task.topic}-rejected",
        "WEB_PORT": str(free_port()),
        "DATA_DIR": str(task.folder / "worker"),
    }
    # settings that a person exported for another system must not leak in
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = inherited | {PREFIX + name: value for name, value in settings.items()}
    command = python_command("-m", "worker.cli", "worker")
    return Process("the worker", command, log=task.folder / "worker.log", environment=environment)


BASELINE: Final = Contender("bare loop", _start_bare_loop, has_statistics=False)
WORKER: Final = Contender("this worker", _start_worker, has_statistics=True)
CONTENDERS: Final = (BASELINE, WORKER)
