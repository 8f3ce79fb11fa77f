"""
Every error the worker raises on purpose, one branch per fate.

WorkerError
├── SettingsError              do not start
│   ├── InUseError
│   ├── NotThereError
│   └── UrlTakenError
├── RecordRejectedError        reject the record, count it, go on
├── UnavailableError           retry the same input
│   ├── StoreUnavailableError
│   └── BrokerUnavailableError
│       ├── PublishInterruptedError
│       └── UnconfirmedError
└── InvariantError             stop the process
    ├── SchemaError
    ├── StoreRefusedError
    ├── StuckError
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


class UrlTakenError(SettingsError):
    """Another worker is at work under this worker's URL."""


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


class PublishInterruptedError(BrokerUnavailableError):
    """Not all events of a file were published; its message says which were, and how to go on."""

    def __init__(self, because: str, *, acknowledged_count: int, next_line: int) -> None:
        super().__init__(
            f"{because}\n"
            f"{acknowledged_count} events were acknowledged, among them all before line {next_line}\n"
            f"go on with --from-line {next_line}: some events from there on may have been published already, "
            "and those without event_id would count again"
        )
        self.acknowledged_count = acknowledged_count
        self.next_line = next_line


class UnconfirmedError(BrokerUnavailableError):
    """Kafka did not acknowledge an event in time; published again with the same `event_id` it counts once."""

    def __init__(self, event_id: str, *, waited_s: float) -> None:
        super().__init__(
            f"Kafka did not acknowledge the event within {waited_s:g} s; it may have been published nevertheless: "
            f"send it again with event_id {event_id!r}, and it counts once"
        )
        self.event_id = event_id


class InvariantError(WorkerError):
    """Something that must hold does not; going on would lose or double events."""


class SchemaError(InvariantError):
    """The database does not have the schema that this version needs."""


class StoreRefusedError(InvariantError):
    """PostgreSQL refuses what no retry and no reject would mend."""


class StuckError(InvariantError):
    """Something inside the process ended in silence, and only a new process goes on."""


class TopicMismatchError(InvariantError):
    """The topic is not the one that the stored positions belong to."""


class TopicRecreatedError(InvariantError):
    """The topic's offsets went back: it was deleted and created anew."""
