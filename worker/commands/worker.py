"""`referrals worker`: runs a worker."""

import asyncio
from collections.abc import Callable

import typer

from worker import log
from worker.app import build
from worker.process import WorkerProcess
from worker.settings import Settings
from worker.startup import start_up
from worker.web.server import bind


def run_worker() -> None:
    """Consume usage events, store them, and serve statistics, until SIGTERM or Ctrl-C."""
    raise typer.Exit(run(build))


def run(make: Callable[..., WorkerProcess]) -> int:
    """
    Run a worker until it is stopped, and return its exit code.

    Args:
        make: puts it together, as `worker.app.build` does.
    """
    settings = Settings.load()
    log.configure(settings.log_format, settings.log_level)
    with bind(settings.web_host, settings.web_port) as web_socket:
        partition_count = asyncio.run(start_up(settings))
        # Faust and its services bind to the loop they are built on
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return make(settings, partition_count, web_socket, loop=loop).run()
