"""Free TCP ports of the loopback interface."""

import errno
import fcntl
import os
import secrets
import socket
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections (Linux 32768 and up): a port from there may
# be taken by any client while its server restarts, even by a client that reconnects to that very port and finds itself.
PORTS: Final = range(20_000, 32_000)
ATTEMPTS: Final = 200

_claimed: set[int] = set()
_claiming = threading.Lock()


def is_free(port: int) -> bool:
    """Tell whether a server can listen on the port now."""
    with socket.socket() as probe:
        # as servers do; without it, closed connections of a server that just ended would count as taken
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def free_port(preferred: int | None = None) -> int:
    """
    Return the preferred port when it is free, else another free one; no other call gets it while this process lives.

    Raises:
        OSError: hundreds of ports are taken.
    """
    if preferred is not None and _claim(preferred):
        return preferred
    for _ in range(ATTEMPTS):
        port = secrets.choice(PORTS)
        if _claim(port):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port found in {ATTEMPTS} attempts")


def _claim(port: int) -> bool:
    # a server listens seconds after its port was chosen, and until then another process would find it free as well
    with _claiming:
        if port in _claimed or not is_free(port):
            return False
        try:
            fcntl.lockf(_claims_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EAGAIN}:
                return False
            raise
        _claimed.add(port)
        return True


@cache
def _claims_file() -> int:
    """Return a descriptor of the file whose bytes stand for ports: a lock on one ends with the process, in any case."""
    path = Path(tempfile.gettempdir()) / f"referrals-ports-{os.geteuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
