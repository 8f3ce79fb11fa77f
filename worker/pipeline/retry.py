"""Retry or not: the one place that judges what PostgreSQL said, and how long to pause before the next try."""

import random
from dataclasses import dataclass
from enum import Enum
from typing import Final

import psycopg

from worker.errors import StoreRefusedError, StoreUnavailableError, WorkerError


class Verdict(Enum):
    """What to do with input that the database did not take."""

    RETRY = "retry"  # an outage: the same input again, for as long as it takes
    REJECT = "reject"  # a row that can never be stored
    STOP = "stop"  # neither would help: this program, or its schema, is at fault


# 22P0x: what we sent does not fit its own format, which no other row would either
_MALFORMED: Final = "22P0"
# cursor unknown, no such database or schema, syntax or access rule; not 0A and 26, which a new connection mends: plans
# cached before a migration, and statements that a pooler has dropped
_STOP_CLASSES: Final = frozenset({"34", "3D", "3F", "42"})
# a data exception, an integrity constraint
_REJECT_CLASSES: Final = frozenset({"22", "23"})
_CHECK_VIOLATION: Final = "23514"


def classify(error: psycopg.Error) -> Verdict:
    """
    Judge an error by its SQLSTATE; psycopg's own classes are too wide (a full disk is an OperationalError as well).

    An error without SQLSTATE is the client's: a connection lost or refused, or misuse by this program.
    Source: the error codes' appendix of PostgreSQL's manual.
    """
    state = error.sqlstate
    if state is None:
        return Verdict.RETRY if isinstance(error, psycopg.OperationalError) else Verdict.STOP
    if state.startswith(_MALFORMED) or state[:2] in _STOP_CLASSES:
        return Verdict.STOP
    if state == _CHECK_VIOLATION and error.diag.constraint_name is None:
        return Verdict.RETRY  # no partition of the table takes the row: an operator can add one
    return Verdict.REJECT if state[:2] in _REJECT_CLASSES else Verdict.RETRY


def to_worker_error(error: psycopg.Error) -> WorkerError:
    """Return the error to raise `from error` when no reject is possible any more."""
    words = " ".join(str(error).split()) or type(error).__name__
    if classify(error) is Verdict.RETRY:
        return StoreUnavailableError(words)
    return StoreRefusedError(f"{words} (SQLSTATE {error.sqlstate})")


@dataclass
class Backoff:
    """Pauses that double from `first_s` to `max_s`, each shortened by up to half at random so workers spread out."""

    max_s: float
    first_s: float = 0.1
    _tries: int = 0

    def next_pause_s(self) -> float:
        """Return the seconds to pause before the next try."""
        # the exponent is bounded: 2.0 ** 1024 overflows after a long outage
        pause_s = min(self.max_s, self.first_s * 2.0 ** min(self._tries, 32))
        self._tries += 1
        return pause_s * random.uniform(0.5, 1)  # noqa: S311 - spreads retries, guards no secret
