"""
Reading an event from its bytes.

`UsageEvent` is the judge of what an event is. It is asked only where there is doubt: for nearly every record pydantic
reads texts of the right lengths, whose UUIDs are then checked all at once and whose dates are parsed by Python. What
these take, the judge would take as well, with the same result; what they do not, it decides.
"""

import re
from binascii import unhexlify
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from schemas import UsageEvent
from schemas.fields import EVENT_ID_MAX_CHARS, UUID_CHARS, UUID_HYPHENS, UUID_PATTERN

# nearly every date looks like this, and Python reads these as pydantic does: a day of 24 hours, an offset of 60 minutes
# or a date without seconds are left to pydantic
_PLAIN_DATE_PATTERN: Final = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?"
    "(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$"
)


def _validator(schema_of: Callable[[str, FieldInfo], CoreSchema]) -> Callable[[bytes], dict[str, Any]]:
    """Return what validates JSON into a dictionary of the event's fields: an object would cost half as much again."""
    fields = {
        name: core_schema.typed_dict_field(schema_of(name, field), required=field.is_required())
        for name, field in UsageEvent.model_fields.items()
    }
    return SchemaValidator(core_schema.typed_dict_schema(fields)).validate_json


def _schema_of_event(_name: str, field: FieldInfo) -> CoreSchema:
    annotation: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotation).core_schema


def _schema_of_texts(name: str, field: FieldInfo) -> CoreSchema:
    return _TEXTS[name] if field.is_required() else core_schema.nullable_schema(_TEXTS[name])


_TEXTS: Final[Mapping[str, CoreSchema]] = {
    "code_uuid": core_schema.str_schema(min_length=UUID_CHARS, max_length=UUID_CHARS, strict=True),
    "used_by_uuid": core_schema.str_schema(min_length=UUID_CHARS, max_length=UUID_CHARS, strict=True),
    "date_used": core_schema.str_schema(pattern=_PLAIN_DATE_PATTERN, strict=True),
    "event_id": core_schema.str_schema(pattern="^[^\\x00]+$", max_length=EVENT_ID_MAX_CHARS, strict=True),
}
_validate_event: Final = _validator(_schema_of_event)
_validate_texts: Final = _validator(_schema_of_texts)
is_uuid: Final = re.compile(UUID_PATTERN).fullmatch
_parse_date: Final = datetime.fromisoformat

Read = tuple[str, str, datetime | None, str | None]
"""Code, user, date and event id of one event; the UUIDs as text, each of 36 characters."""


def read(value: bytes) -> Read:
    """Read an event whose UUIDs are still to be checked, or let the judge read it."""
    try:
        event = _validate_texts(value)
        date_used = event.get("date_used")
        if date_used is not None:
            date_used = _parse_date(date_used)
    except ValueError:
        return judge(value)
    return event["code_uuid"], event["used_by_uuid"], date_used, event.get("event_id")


def judge(value: bytes) -> Read:
    """
    Read an event as `UsageEvent` does.

    Raises:
        pydantic.ValidationError: it is none.
    """
    event = _validate_event(value)
    return event["code_uuid"], event["used_by_uuid"], event.get("date_used"), event.get("event_id")


def looks_like_uuid(text: str) -> bool:
    """Return whether a text may be a UUID, to be checked by `pack_uuids`."""
    return len(text) == UUID_CHARS and text[8] == "-"


class NotUuidsError(Exception):
    """Of texts that have the length of a UUID, some are none."""


def pack_uuids(texts: Sequence[str]) -> bytes:
    """
    Return 16 bytes for each text of 36 characters, all at once: one by one costs three times as much.

    No text can shift its neighbours, since each has its length, and its hyphens in their places.

    Raises:
        NotUuidsError: not every text is a UUID.
    """
    joined = "".join(texts)
    digits = joined.replace("-", "")
    hyphens = "-" * len(texts)
    if len(digits) != 32 * len(texts) or any(joined[place::UUID_CHARS] != hyphens for place in UUID_HYPHENS):
        raise NotUuidsError
    try:
        return unhexlify(digits)
    except ValueError:
        raise NotUuidsError from None
