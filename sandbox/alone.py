"""Being alone in a folder: one demo, one broker, one database server, each with the data that are there."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sandbox.errors import AlreadyRunningError

LOCK_NAME: Final = "lock"
POLL_INTERVAL_S: Final = 0.05


@contextmanager
def alone(folder: Path, name: str, remedy: str, *, patience_s: float = 0) -> Iterator[int]:
    """
    Hold the folder, which is created when missing; yield the descriptor of its lock.

    The lock goes with the last process that has the descriptor, however that one ends.

    Args:
        folder: what `name` must be alone in.
        name: what messages call it.
        remedy: what a person does when it is not.
        patience_s: given to one that is just ending.
    Raises:
        AlreadyRunningError: another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    deadline = time.monotonic() + patience_s
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    what = f"{name} is already running in {folder}: {path.read_text(encoding='ascii')}"
                    raise AlreadyRunningError(what, remedy) from error
                time.sleep(POLL_INTERVAL_S)
            else:
                break
        path.write_text(f"process {os.getpid()}", encoding="ascii")
        yield lock.fileno()
