"""Readers of a worker's answers: connections that stay open, and how long their answers took."""

import http.client
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from sandbox.errors import SandboxError
from sandbox.ports import LOOPBACK

READER_COUNT: Final = 4
REQUEST_TIMEOUT_S: Final = 60.0
WAIT_HEADINGS: Final = ("p50, ms", "p99, ms", "slowest, ms")


class AnswerError(SandboxError):
    """The worker answered with something else than what was asked for."""


class Client:
    """A reader with a connection of its own for each thread, as browsers and services have."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()

    def get(self, path: str) -> bytes:
        """
        Return the body of an answer.

        Raises:
            AnswerError: its status is not 200.
        """
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=REQUEST_TIMEOUT_S)
        self._local.connection.request("GET", path)
        response = self._local.connection.getresponse()
        body: bytes = response.read()
        if response.status != http.HTTPStatus.OK:
            raise AnswerError(f"GET {path} was answered {response.status}: {body[:200]!r}", "see the worker's log")
        return body

    def wait_ms(self, path: str) -> float:
        """Return how long an answer took, its last byte included."""
        begin_s = time.perf_counter()
        self.get(path)
        return (time.perf_counter() - begin_s) * 1000


@dataclass(frozen=True, slots=True)
class Waited:
    """
    How long readers waited for one kind of answer, in milliseconds.

    Args:
        answer: what was asked for.
    """

    answer: str
    p50_ms: float
    p99_ms: float
    slowest_ms: float

    @classmethod
    def of(cls, answer: str, waits_ms: Sequence[float]) -> Self:
        """Sum up at least two waits."""
        quantiles = statistics.quantiles(waits_ms, n=100, method="inclusive")
        return cls(answer, round(quantiles[49], 1), round(quantiles[98], 1), round(max(waits_ms), 1))

    def __str__(self) -> str:
        return f"{self.answer}: p50 {self.p50_ms:,.1f} ms, p99 {self.p99_ms:,.1f} ms"

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table's row, under what was waited for and `WAIT_HEADINGS`."""
        return (self.answer, f"{self.p50_ms:,.1f}", f"{self.p99_ms:,.1f}", f"{self.slowest_ms:,.1f}")
