"""
Every error the worker raises on purpose, one branch per fate.

WorkerError
├── SettingsError              do not start
│   ├── InUseError
│   └── NotThereError
├── RecordRejectedError        reject the record, count it, go on
├── UnavailableError           retry the same input
│   ├── StoreUnavailableError
│   └── BrokerUnavailableError
└── InvariantError             stop the process
    ├── SchemaError
    ├── StoreRefusedError
    ├── TopicMismatchError
    └── TopicRecreatedError
"""

from schemas import Reason


class WorkerError(Exception):
    """Any error of the worker."""


class SettingsError(WorkerError):
    """The worker must not start with these settings or this environment."""


class NotThereError(SettingsError):
    """Kafka or PostgreSQL did not answer in the time that a start may wait for them."""


class InUseError(SettingsError):
    """Workers run, and what a command would change must not change under them."""


class RecordRejectedError(WorkerError):
    """A record can never be stored."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class UnavailableError(WorkerError):
    """Something the worker needs is not there now; the same input is tried again."""


class StoreUnavailableError(UnavailableError):
    """PostgreSQL did not take a run; it may or may not have committed, the stored position decides."""


class BrokerUnavailableError(UnavailableError):
    """Kafka did not acknowledge what was sent; sending again is safe."""


class InvariantError(WorkerError):
    """Something that must hold does not; going on would lose or double events."""


class SchemaError(InvariantError):
    """The database does not have the schema that this version needs."""


class StoreRefusedError(InvariantError):
    """PostgreSQL refuses what no retry and no reject would mend."""


class TopicMismatchError(InvariantError):
    """The topic is not the one that the stored positions belong to."""


class TopicRecreatedError(InvariantError):
    """The topic's offsets went back: it was deleted and created anew."""
