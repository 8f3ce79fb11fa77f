"""Free TCP ports of the loopback interface."""

import errno
import secrets
import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections (Linux 32768 and up): a port from there may
# be taken by any client while its server restarts, even by a client that reconnects to that very port and finds itself.
PORTS: Final = range(20_000, 32_000)
ATTEMPTS: Final = 200


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
    Return the preferred port when it is free, else another free one.

    Raises:
        OSError: hundreds of ports are taken.
    """
    if preferred is not None and is_free(preferred):
        return preferred
    for _ in range(ATTEMPTS):
        port = secrets.choice(PORTS)
        if is_free(port):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port found in {ATTEMPTS} attempts")
