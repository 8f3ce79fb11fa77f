"""Retry, reject or stop: every error that PostgreSQL and psycopg know has a verdict, and pauses have bounds."""

import inspect
import itertools

import psycopg
import psycopg.errors
import psycopg_pool
import pytest

from worker.errors import StoreRefusedError, StoreUnavailableError
from worker.pipeline.retry import Backoff, Verdict, classify, to_worker_error

R, J, S = Verdict.RETRY, Verdict.REJECT, Verdict.STOP

# the first two characters of an SQLSTATE, in the order of the appendix of PostgreSQL's manual
VERDICT_OF_CLASS = {
    "02": R,  # no data
    "03": R,  # SQL statement not yet complete
    "08": R,  # connection exception
    "09": R,  # triggered action exception
    "0A": R,  # feature not supported: a plan cached before a migration, which a new connection mends
    "0B": R,  # invalid transaction initiation
    "0F": R,  # locator exception
    "0L": R,  # invalid grantor
    "0P": R,  # invalid role specification
    "0Z": R,  # diagnostics exception
    "10": R,  # XQuery error
    "20": R,  # case not found
    "21": R,  # cardinality violation
    "22": J,  # data exception
    "23": J,  # integrity constraint violation
    "24": R,  # invalid cursor state
    "25": R,  # invalid transaction state: 25006 is a session left on a demoted primary
    "26": R,  # invalid statement name: a pooler dropped it, which a new connection mends
    "27": R,  # triggered data change violation
    "28": R,  # invalid authorization: passwords are rotated while workers run
    "2B": R,  # dependent privileges
    "2D": R,  # invalid transaction termination
    "2F": R,  # routine exception
    "34": S,  # invalid cursor name
    "38": R,  # external routine exception
    "39": R,  # external routine invocation exception
    "3B": R,  # savepoint exception
    "3D": S,  # no such database
    "3F": S,  # no such schema
    "40": R,  # transaction rollback: a deadlock
    "42": S,  # syntax error or access rule violation: no such table
    "44": R,  # with check option violation
    "53": R,  # insufficient resources: a full disk
    "54": R,  # program limit exceeded
    "55": R,  # object not in prerequisite state: a lock not available in time
    "57": R,  # operator intervention: a restart
    "58": R,  # system error
    "72": R,  # snapshot too old
    "F0": R,  # configuration file error
    "HV": R,  # foreign data wrapper
    "P0": R,  # PL/pgSQL
    "XX": R,  # internal error
}
# what was sent does not fit its own format, which is no fault of one row
MALFORMED = {"22P01": S, "22P02": S, "22P03": S, "22P04": S, "22P05": S, "22P06": S}
# without the name of a constraint: no partition of the table takes the row
VERDICT_OF_STATE = {**MALFORMED, "23514": R}


def _classes() -> dict[str, type[psycopg.Error]]:
    return {
        name: cls
        for module in (psycopg.errors, psycopg_pool)
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, psycopg.Error)
    }


WITH_STATE = {name: cls for name, cls in _classes().items() if cls.sqlstate is not None}
WITHOUT_STATE = {name: cls for name, cls in _classes().items() if cls.sqlstate is None}
# what happens to a connection; everything else without SQLSTATE is misuse by this program
LOST_CONNECTION = {
    "CancellationTimeout",
    "ConnectionTimeout",
    "OperationalError",
    "PipelineAborted",
    "PoolClosed",
    "PoolTimeout",
    "TooManyRequests",
    "_WaitTimeout",
}


def test_psycopg_knows_what_this_test_walks():
    """The walk finds PostgreSQL's errors, so that an empty one cannot pass."""
    assert len(WITH_STATE) > 200
    assert {"UniqueViolation", "DiskFull", "ReadOnlySqlTransaction"} <= set(WITH_STATE)
    assert {"OperationalError", "PoolTimeout"} <= set(WITHOUT_STATE)


@pytest.mark.parametrize("name", WITH_STATE)
def test_classify_has_a_verdict_for_every_sqlstate(name):
    """Each error that PostgreSQL can give has the verdict of its SQLSTATE's class, or its own."""
    cls = WITH_STATE[name]
    assert classify(cls("words")) is VERDICT_OF_STATE.get(cls.sqlstate, VERDICT_OF_CLASS[cls.sqlstate[:2]])


@pytest.mark.parametrize("name", WITHOUT_STATE)
def test_classify_takes_an_error_without_sqlstate_for_a_lost_connection_or_misuse(name):
    """Errors of psycopg itself are a connection lost or refused, which is tried again, or a fault of this program."""
    assert classify(WITHOUT_STATE[name]("words")) is (R if name in LOST_CONNECTION else S)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("AdminShutdown", R),
        ("CrashShutdown", R),
        ("CannotConnectNow", R),
        ("DiskFull", R),
        ("OutOfMemory", R),
        ("TooManyConnections", R),
        ("DeadlockDetected", R),
        ("SerializationFailure", R),
        ("LockNotAvailable", R),
        ("QueryCanceled", R),
        ("IdleInTransactionSessionTimeout", R),
        ("ReadOnlySqlTransaction", R),
        ("InvalidPassword", R),
        ("NumericValueOutOfRange", J),
        ("NotNullViolation", J),
        ("ForeignKeyViolation", J),
        ("UniqueViolation", J),
        ("ExclusionViolation", J),
        ("BadCopyFileFormat", S),
        ("InvalidBinaryRepresentation", S),
        ("UndefinedTable", S),
        ("UndefinedColumn", S),
        ("InsufficientPrivilege", S),
        ("InvalidCatalogName", S),
        ("SyntaxError", S),
    ],
)
def test_classify_judges_what_operators_meet(name, verdict):
    """Outages are tried again, rows that cannot be stored are rejected, a wrong schema or program stops."""
    assert classify(getattr(psycopg.errors, name)("words")) is verdict


def test_classify_tries_an_unknown_sqlstate_again():
    """A state that a newer server or an extension makes up is an outage, never a reject."""

    class NewError(psycopg.DatabaseError):
        sqlstate = "Z9001"

    assert classify(NewError("words")) is R


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.DiskFull("no space"), StoreUnavailableError),
        (psycopg.OperationalError("connection lost"), StoreUnavailableError),
        (psycopg_pool.PoolTimeout("no connection"), StoreUnavailableError),
        (psycopg.errors.UndefinedTable("no table"), StoreRefusedError),
        (psycopg.errors.CheckViolation("no partition"), StoreUnavailableError),
        (psycopg.errors.UniqueViolation("twice"), StoreRefusedError),
        (psycopg.ProgrammingError("misuse"), StoreRefusedError),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, psycopg.Error) else None,
)
def test_to_worker_error_follows_the_verdict(error, expected):
    """What a retry may mend is unavailable, the rest is refused; the server's words stay, on one line."""
    made = to_worker_error(error)
    assert type(made) is expected
    assert str(error) in str(made)


def test_to_worker_error_says_words_on_one_line():
    """Line ends of the server's message do not break a log line, and an empty one is named by its class."""
    assert str(to_worker_error(psycopg.OperationalError("lost\nwhile  waiting\n"))) == "lost while waiting"
    assert str(to_worker_error(psycopg.OperationalError())) == "OperationalError"


def test_backoff_doubles_up_to_its_bound():
    """Each pause is between half and all of a value that doubles from the first to the longest."""
    backoff = Backoff(max_s=5, first_s=0.1)
    for whole in [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]:
        pause = backoff.next_pause_s()
        assert whole / 2 <= pause <= whole + 1e-9


def test_backoff_keeps_its_bound_for_ever():
    """After thousands of tries a pause is still at most the longest, and no overflow."""
    backoff = Backoff(max_s=5)
    pauses = [backoff.next_pause_s() for _ in range(5000)]
    assert max(pauses) <= 5
    assert min(pauses[20:]) >= 2.5


def test_backoff_never_pauses_longer_than_its_bound_when_the_first_is_longer():
    """A bound below the first pause holds from the start."""
    assert Backoff(max_s=0.05, first_s=0.1).next_pause_s() <= 0.05


def test_backoff_spreads_workers():
    """Two workers that fail at one moment do not come back at one moment."""
    pauses = {pause for _ in range(20) for pause in itertools.islice(iter(Backoff(max_s=5).next_pause_s, None), 3)}
    assert len(pauses) == 60
