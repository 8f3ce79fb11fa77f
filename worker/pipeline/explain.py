"""Why a value is no event, in words for the producer."""

from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas import Reason
from schemas.usage import VALUE_MAX_BYTES
from worker.errors import RecordRejectedError

_QUOTED_MAX_CHARS: Final = 60
_REASON_OF_FIELD: Final = {
    "code_uuid": Reason.INVALID_UUID,
    "used_by_uuid": Reason.INVALID_UUID,
    "date_used": Reason.INVALID_DATE,
    "event_id": Reason.INVALID_EVENT_ID,
}
_FORM_OF_FIELD: Final = {
    "code_uuid": "is not a UUID of 36 characters with hyphens",
    "used_by_uuid": "is not a UUID of 36 characters with hyphens",
    "date_used": "is not an RFC 3339 time with an offset, as in 2026-01-31T12:00:00Z",
    "event_id": "is not a text of 1 to 255 characters without NUL",
}
# of several faults, the one that says most about the producer is the reason; the detail names all
_PRECEDENCE: Final = (Reason.MISSING_FIELD, Reason.INVALID_UUID, Reason.INVALID_DATE, Reason.INVALID_EVENT_ID)


def unfit(value: bytes | None) -> RecordRejectedError:
    """Return why a value is rejected unread: it is empty, or too large."""
    if value:
        return too_large(len(value))
    return RecordRejectedError(Reason.EMPTY, "the value is null" if value is None else "the value has no bytes")


def too_large(value_bytes: int) -> RecordRejectedError:
    """Return why a value of so many bytes is rejected, for those who refuse it before they have read it."""
    return RecordRejectedError(
        Reason.TOO_LARGE, f"the value has {value_bytes} bytes; at most {VALUE_MAX_BYTES} are taken"
    )


def explain(error: ValidationError) -> tuple[Reason, str]:
    """Return why a value is no event; of several faults the detail names all."""
    problems = error.errors(include_url=False, include_context=False)
    kind = problems[0]["type"]
    if kind == "json_invalid":
        return Reason.NOT_JSON, problems[0]["msg"]
    if kind == "dict_type":
        return Reason.NOT_AN_OBJECT, "the value is JSON, but not an object"
    found = [_explain_field(problem) for problem in problems]
    reason = min((reason for reason, _ in found), key=_PRECEDENCE.index)
    return reason, "; ".join(detail for _, detail in found)


def _explain_field(problem: ErrorDetails) -> tuple[Reason, str]:
    field = str(problem["loc"][0])
    given: Any = problem["input"]
    if problem["type"] == "missing":
        return Reason.MISSING_FIELD, f"{field} is missing"
    if given is None:
        return Reason.MISSING_FIELD, f"{field} is null"
    quoted = repr(given)
    if len(quoted) > _QUOTED_MAX_CHARS:
        quoted = quoted[:_QUOTED_MAX_CHARS] + "…"
    return _REASON_OF_FIELD[field], f"{field} {quoted} {_FORM_OF_FIELD[field]}"
