"""
The field types of the usage event: stricter than pydantic's own, and still validated in Rust.

pydantic's UUID and datetime types take braces, `urn:`, missing hyphens, numbers and dates without a time, even in
strict mode. Two producers that spell one code differently must not become two codes, so the spelling is fixed here.
From JSON the values are text only; from Python, `UUID` and aware `datetime` objects are welcome too.
"""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import GetPydanticSchema
from pydantic_core import CoreSchema, core_schema

UUID_CHARS: Final = 36
UUID_HYPHENS: Final = (8, 13, 18, 23)
UUID_PATTERN: Final = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
DATE_PATTERN: Final = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})$"
)
EVENT_ID_MAX_CHARS: Final = 255


def _uuid_schema() -> CoreSchema:
    text = core_schema.str_schema(pattern=UUID_PATTERN, to_lower=True, strict=True)
    instance = core_schema.no_info_after_validator_function(str, core_schema.is_instance_schema(UUID))
    return core_schema.json_or_python_schema(text, core_schema.union_schema([text, instance]))


def _date_schema() -> CoreSchema:
    aware = core_schema.datetime_schema(tz_constraint="aware")
    text = core_schema.chain_schema([core_schema.str_schema(pattern=DATE_PATTERN, strict=True), aware])
    instance = core_schema.datetime_schema(strict=True, tz_constraint="aware")
    return core_schema.json_or_python_schema(text, core_schema.union_schema([instance, text]))


def _event_id_schema() -> CoreSchema:
    # PostgreSQL and most tools downstream cannot hold NUL in text
    return core_schema.str_schema(min_length=1, max_length=EVENT_ID_MAX_CHARS, pattern="^[^\\x00]*$", strict=True)


UuidText = Annotated[str, GetPydanticSchema(lambda _source, _handler: _uuid_schema())]
"""A UUID as 36 characters with hyphens, any version, any case; lower case afterwards."""

AwareDate = Annotated[datetime, GetPydanticSchema(lambda _source, _handler: _date_schema())]
"""An RFC 3339 time with an offset: `T` or space, seconds optional, `Z`, `+hh:mm` or `+hhmm`."""

EventId = Annotated[str, GetPydanticSchema(lambda _source, _handler: _event_id_schema())]
"""The producer's identity for a usage: 1 to 255 characters without NUL."""
