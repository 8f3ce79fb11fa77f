"""The web application in a process of its own, for a test whose own process nothing else may touch."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from fix_web import HandHealth, HandTable, HandTopic, new_app, new_database

from worker.web.server import WebServer, bind


@contextmanager
def api_process(database_url: str) -> Iterator[str]:
    """Serve the application over a database, and give its address."""
    spawning = get_context("spawn")
    ours, theirs = spawning.Pipe()
    with theirs, bind("127.0.0.1", 0) as listener:
        url = "http://{}:{}".format(*listener.getsockname())
        process = spawning.Process(target=_run, args=(database_url, listener, theirs))
        process.start()
    try:
        yield url
    finally:
        ours.close()
        process.join()
    assert process.exitcode == 0


def _run(database_url: str, listener: socket.socket, life: Connection) -> None:
    asyncio.run(_serve(database_url, listener, life))


async def _serve(database_url: str, listener: socket.socket, life: Connection) -> None:
    database = new_database(database_url)
    async with database, WebServer(new_app(database, HandTable(), HandHealth(), HandTopic()), listener):
        # the other end is closed when the test is over, or its process
        await asyncio.to_thread(life.poll, None)
