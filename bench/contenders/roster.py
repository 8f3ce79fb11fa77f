"""Who takes part, from the fastest expected to the slowest, and how those that are Python programs are started."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.contenders import kafka_connect
from bench.contenders.contender import Contender, Task
from bench.contenders.quix_environment import quix_python
from sandbox.ports import free_port
from sandbox.process import Process, python_command
from sandbox.referrals import PREFIX

QUIX_STREAMS: Final = Path(__file__).with_name("quix_streams.py")


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


def _start_module(name: str) -> Callable[[Task], Process]:
    def start(task: Task) -> Process:
        arguments = (task.bootstrap_servers, task.topic, task.group, task.database_url)
        command = python_command("-m", f"bench.contenders.{name}", *arguments)
        return Process(name, command, log=task.folder / f"{name}.log")

    return start


def _start_postgres_alone(task: Task) -> Process:
    arguments = (str(task.event_count), task.database_url)
    command = python_command("-m", "bench.contenders.postgres_alone", *arguments)
    return Process("PostgreSQL alone", command, log=task.folder / "postgres-alone.log")


def _start_quix_streams(task: Task) -> Process:
    state = task.folder / f"{task.group}-state"
    arguments = (task.bootstrap_servers, task.topic, task.group, task.database_url, str(state))
    command = [str(quix_python()), str(QUIX_STREAMS), *arguments]
    return Process("quix-streams", command, log=task.folder / "quix-streams.log")


WORKER: Final = Contender("this worker", _start_worker, has_statistics=True)
BASELINE: Final = Contender("bare loop", _start_module("bare_loop"))
CONTENDERS: Final = (
    Contender("PostgreSQL alone", _start_postgres_alone),
    WORKER,
    BASELINE,
    Contender("Kafka Connect", kafka_connect.start, prepare=kafka_connect.prepare, stop_code=kafka_connect.STOP_CODE),
    Contender("quix-streams", _start_quix_streams, prepare=quix_python, event_max_count=100_000),
    Contender("stock Faust", _start_module("stock_faust"), event_max_count=20_000),
)
