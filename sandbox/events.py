"""
Sample events: codes of very different popularity, users who come again, repeated event ids, a few bad events.

The codes and users are the same on every machine and in every run, so later runs add to the statistics of earlier ones.
"""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from schemas import Reason, UsageEvent

NAMESPACE: Final = UUID("0c1f8f0e-9f0a-5d0c-8a53-3f6b0c0e5a11")
CODES: Final = tuple(str(uuid5(NAMESPACE, f"code {number}")) for number in range(150))
USERS: Final = tuple(str(uuid5(NAMESPACE, f"user {number}")) for number in range(900))
POPULAR_CODE: Final = CODES[0]

# the first code gets about a sixth of all usages, the last ones a handful in thousands
CODE_WEIGHTS: Final = tuple(itertools.accumulate(1 / rank for rank in range(1, len(CODES) + 1)))
REPEATED_SHARE: Final = 0.02
DATED_SHARE: Final = 0.5
MAX_AGE: Final = timedelta(days=14)


@dataclass(frozen=True)
class Sample:
    """
    One record to publish.

    Args:
        key: the Kafka key.
        value: the Kafka value.
        reason: why the worker must keep it as a reject; None for a good event.
        is_repeated: a good event that was published before, to count only once.
    """

    key: bytes
    value: bytes
    reason: Reason | None = None
    is_repeated: bool = False


def samples(count: int, *, run: str) -> list[Sample]:
    """
    Return that many records in publishing order, the bad ones spread among the good.

    Args:
        count: at least as many as there are bad ones.
        run: makes the event ids unlike those of other runs.
    """
    bad = bad_samples()
    records = list(itertools.islice(_good_samples(run), count - len(bad)))
    distance = len(records) // len(bad)
    for number, sample in enumerate(bad):
        records.insert(number * (distance + 1) + distance // 2, sample)
    return records


def bad_samples() -> list[Sample]:
    """Return one record for each way of being wrong that a producer is likely to find."""
    good = UsageEvent(code_uuid=POPULAR_CODE, used_by_uuid=USERS[0]).model_dump(mode="json", exclude_none=True)
    far = datetime.now(UTC) + timedelta(days=365)

    def changed(reason: Reason, **fields: object) -> Sample:
        event = {name: value for name, value in (good | fields).items() if value is not None}
        return Sample(POPULAR_CODE.encode(), json.dumps(event).encode(), reason)

    return [
        Sample(POPULAR_CODE.encode(), b"", Reason.EMPTY),
        Sample(POPULAR_CODE.encode(), b"code=SUMMER&user=42", Reason.NOT_JSON),
        Sample(POPULAR_CODE.encode(), b"\xff\xfe\x00not text", Reason.NOT_JSON),
        Sample(POPULAR_CODE.encode(), b'["SUMMER", 42]', Reason.NOT_AN_OBJECT),
        changed(Reason.MISSING_FIELD, used_by_uuid=None),
        changed(Reason.INVALID_UUID, code_uuid="SUMMER"),
        changed(Reason.INVALID_UUID, used_by_uuid=f"{{{USERS[0]}}}"),
        changed(Reason.INVALID_DATE, date_used="yesterday"),
        changed(Reason.INVALID_DATE, date_used="2026-01-31T12:00:00"),
        changed(Reason.DATE_IN_FUTURE, date_used=far.isoformat()),
        changed(Reason.DATE_TOO_OLD, date_used="1901-01-01T00:00:00Z"),
        changed(Reason.INVALID_EVENT_ID, event_id="x" * 300),
        changed(Reason.TOO_LARGE, note="x" * 70 * 1024),
    ]


def _good_samples(run: str) -> Iterator[Sample]:
    choices = random.Random(run)  # noqa: S311 - sample data, nothing secret
    recent: list[Sample] = []
    for number in itertools.count():
        if recent and choices.random() < REPEATED_SHARE:
            again = choices.choice(recent)
            yield Sample(again.key, again.value, is_repeated=True)
            continue
        # some users come far more often than others
        user = USERS[int(len(USERS) * choices.random() ** 2)]
        is_dated = choices.random() < DATED_SHARE
        event = UsageEvent(
            code_uuid=choices.choices(CODES, cum_weights=CODE_WEIGHTS)[0],
            used_by_uuid=user,
            date_used=datetime.now(UTC) - MAX_AGE * choices.random() if is_dated else None,
            event_id=f"demo-{run}-{number}",
        )
        sample = Sample(event.key(), event.value())
        recent = [*recent[-99:], sample]
        yield sample
