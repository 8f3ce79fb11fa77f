"""A TCP proxy before PostgreSQL that reads what clients send, message by message, and can fail in chosen ways."""

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from sandbox.ports import LOOPBACK
from sandbox.postgres import Postgres

# what a client may ask instead of starting up at once
_ASKS_FOR_ENCRYPTION = {80877103, 80877104}
# less of COPY than this is no run's rows
_ROWS_MIN_BYTES = 500
_CHUNK_BYTES = 64 * 1024


class Proxy:
    """
    Forwards connections to a port of this machine.

    Attributes:
        to_cut: how many more messages of rows (`copy`) are cut in their middle, and how many connections right after
            their `commit` was forwarded, so that its answer never arrives.
        cuts: how many were.
        swallowed_bytes: held back so far.
    """

    def __init__(self, target_port: int) -> None:
        self.to_cut: Counter[str] = Counter()
        self.cuts: Counter[str] = Counter()
        self.swallowed_bytes = 0
        self._target_port = target_port
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server((LOOPBACK, 0))
        self._is_open = True
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def cut(self) -> int:
        """Cut all connections now, and return how many there were; new ones are forwarded."""
        with self._lock:
            sockets = set(self._sockets)
        for sock in sockets:
            _shut(sock)
        return len(sockets) // 2

    def swallow(self) -> None:
        """Take everything from both sides, new connections too, and forward nothing, without an end or a reset."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward again, first of all what was held back."""
        self._flowing.set()

    def close(self) -> None:
        self._is_open = False
        self._flowing.set()
        # wakes the thread that accepts, which closing would not
        _shut(self._listener)
        self.cut()
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while self._is_open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((LOOPBACK, self._target_port))
            except OSError:  # the server is away, as the client is to see
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            self._threads.append(threading.Thread(target=self._forward, args=(client, server), daemon=True))
            self._threads[-1].start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
        back.start()
        try:
            self._pass_messages(client, server)
        finally:
            _shut(client)
            # not both ways: what was sent is to arrive, and a reset could overtake it
            _shut(server, socket.SHUT_WR)
            back.join()
            with self._lock:
                self._sockets -= {client, server}
            client.close()
            server.close()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                self._hold(chunk)
                # after a cut answers have nowhere to go, but are read all the same
                with contextlib.suppress(OSError):
                    target.sendall(chunk)
        _shut(target)

    def _pass_messages(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for message in _read_messages(client):
                self._hold(message)
                kind = message[:1]
                if kind == b"d" and len(message) >= _ROWS_MIN_BYTES and self._takes("copy"):
                    server.sendall(message[: len(message) // 2])
                    return
                server.sendall(message)
                if b"COMMIT\0" in message and self._takes("commit"):
                    return

    def _takes(self, what: str) -> bool:
        with self._lock:
            if self.to_cut[what] <= 0:
                return False
            self.to_cut[what] -= 1
            self.cuts[what] += 1
            return True

    def _hold(self, data: bytes) -> None:
        if not self._flowing.is_set():
            self.swallowed_bytes += len(data)
            self._flowing.wait()


def _read_messages(client: socket.socket) -> Iterator[bytes]:
    """Yield a client's messages of PostgreSQL's protocol, each whole, until it ends."""
    with client.makefile("rb") as stream:
        while head := stream.read(8):
            length, code = struct.unpack(">II", head)
            yield head + stream.read(length - 8)
            if code not in _ASKS_FOR_ENCRYPTION:
                break
        while len(head := stream.read(5)) == 5:
            (length,) = struct.unpack(">I", head[1:])
            yield head + stream.read(length - 4)


def _shut(sock: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(how)


@pytest.fixture
def proxy(own_postgres: Postgres) -> Iterator[Proxy]:
    """A proxy before the test's own server."""
    made = Proxy(own_postgres.tcp_port)
    yield made
    made.close()
