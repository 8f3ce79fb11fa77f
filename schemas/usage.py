"""The usage event: what a producer publishes whenever somebody uses a referral code."""

from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, field_serializer

from schemas.fields import AwareDate, EventId, UuidText

VALUE_MAX_BYTES: Final = 64 * 1024
"""A record's value above this is a reject (`too_large`); an event of the known fields is far below it."""


class UsageEvent(BaseModel):
    """
    One use of a referral code by a user.

    Args:
        code_uuid: the code, a UUID or its 36-character text.
        used_by_uuid: the user, likewise.
        date_used: an aware time; without it the Kafka record's timestamp counts.
        event_id: the producer's identity for this usage; a repeated one is a duplicate and counts once.
    Raises:
        pydantic.ValidationError: a field is missing or not of its form.
    """

    model_config = ConfigDict(frozen=True)

    code_uuid: UuidText
    used_by_uuid: UuidText
    date_used: AwareDate | None = None
    event_id: EventId | None = None

    def key(self) -> bytes:
        """Return the Kafka key, the code's UUID as text: it leads all usages of a code to one partition."""
        return self.code_uuid.encode()

    def value(self) -> bytes:
        """
        Return the Kafka value, a UTF-8 JSON object without the absent fields.

        Raises:
            pydantic_core.PydanticSerializationError: `date_used` is outside the calendar in UTC.
        """
        return self.model_dump_json(exclude_none=True).encode()

    @field_serializer("date_used", when_used="json-unless-none")
    def _date_in_utc(self, date_used: datetime) -> str:
        # an offset may have seconds in Python, but not in RFC 3339
        return date_used.astimezone(UTC).isoformat()
