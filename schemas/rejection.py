"""Rejects: records that can never be stored, kept with their reason and where they came from."""

from enum import StrEnum
from typing import Final

HEADER_PREFIX: Final = "referrals-"
"""Every header that the worker adds to the dead-letter topic's copy starts with this."""


class Reason(StrEnum):
    """Why a record can never be stored."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    INVALID_UUID = "invalid_uuid"
    INVALID_DATE = "invalid_date"
    DATE_IN_FUTURE = "date_in_future"
    DATE_TOO_OLD = "date_too_old"
    INVALID_EVENT_ID = "invalid_event_id"
    REFUSED_BY_DATABASE = "refused_by_database"
    UNREADABLE = "unreadable"
