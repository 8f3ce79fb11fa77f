"""Whole histories in pages, for files: nothing is held between two of them, however slow the caller is."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from schemas.stats import Usage
from worker.web.cursor import Position
from worker.web.params import SpanQuery
from worker.web.queries import Part, Reader

# the worker's loop writes a page in some 20 ms, between which it does its other work
_PAGE_USAGES: Final = 2000
_PORTION_USAGES: Final = 500_000  # 8 MB of UUIDs
_UUID_BYTES: Final = 16


async def code_history(reader: Reader, code_uuid: str, span: SpanQuery) -> AsyncIterator[list[Usage]]:
    """
    Read the usages of a code, latest first, in pages that are not empty.

    Raises:
        StoreUnavailableError: (by every page) PostgreSQL is down or slow.
    """
    history = await reader.code_usages(code_uuid, Part(span.start, span.end, _PAGE_USAGES))
    while history.items:
        yield history.items
        if history.next_cursor is None:
            return
        history = await reader.code_usages(code_uuid, Part(span.start, _place(history.items), _PAGE_USAGES))


async def user_history(
    reader: Reader,
    used_by_uuid: str,
    span: SpanQuery,
    code_uuid: str | None = None,
    *,
    portion_usages: int = _PORTION_USAGES,
    page_usages: int = _PAGE_USAGES,
) -> AsyncIterator[list[Usage]]:
    """
    Read the usages of a user, latest first, in pages that are not empty.

    No index has them in this order, and sorting all of them for each page would take the square of their number: their
    UUIDs are sorted once for a portion of the history, and its pages are read by them.

    Args:
        code_uuid: of one code alone.
    Raises:
        StoreUnavailableError: (by every page) PostgreSQL is down or slow.
    """
    place = span.end
    portion_bytes, page_bytes = portion_usages * _UUID_BYTES, page_usages * _UUID_BYTES
    while True:
        uuids = await reader.user_usage_uuids(used_by_uuid, Part(span.start, place, portion_usages), code_uuid)
        for page_start in range(0, len(uuids), page_bytes):
            # those that were deleted meanwhile are not found
            if usages := await reader.usages(_split(uuids[page_start : page_start + page_bytes])):
                yield usages
                place = _place(usages)
        if len(uuids) < portion_bytes:
            return


def _place(usages: list[Usage]) -> Position:
    return Position(usages[-1].date_used, usages[-1].uuid)


def _split(uuids: bytes) -> list[UUID]:
    return [UUID(bytes=uuids[start : start + _UUID_BYTES]) for start in range(0, len(uuids), _UUID_BYTES)]
