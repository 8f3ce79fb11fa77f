"""What a contender is, and what it is asked to do."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sandbox.process import Process


class Task(NamedTuple):
    """
    What a contender works on: the topic is the same for all that take as many events, group and database are its own.

    Args:
        event_count: how many events the topic holds.
        database_url: through the socket.
        database_tcp_url: the same database, for those who cannot use sockets.
        folder: for its files and its log.
    """

    bootstrap_servers: str
    topic: str
    event_count: int
    group: str
    database_url: str
    database_tcp_url: str
    folder: Path


class Contender(NamedTuple):
    """
    One of those compared: a process that empties a topic into the table `referral_usages` of a database.

    Args:
        start: starts its process and returns at once; the process runs until SIGTERM.
        prepare: fetches what it needs and is not there yet, before anything is measured.
        has_statistics: it keeps `referral_code_stats`, which is then checked.
        event_max_count: the slow ones get a topic with only the first events; the rate is what counts.
        stop_code: its exit code after SIGTERM.
    """

    name: str
    start: Callable[[Task], Process]
    prepare: Callable[[], object] | None = None
    has_statistics: bool = False
    event_max_count: int | None = None
    stop_code: int = 0

    @property
    def slug(self) -> str:
        """Its name as one word of lower-case letters and hyphens."""
        return self.name.lower().replace(" ", "-")
