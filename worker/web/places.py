"""Places among rejects as the cursors of addresses."""

from uuid import UUID

from worker.rejections import LATEST, Place
from worker.web.cursor import Position, read_cursor, write_cursor


def read_place(cursor: str | None) -> Place:
    """Return the place of a cursor that was checked before; without one, that before all rejects."""
    if cursor is None:
        return LATEST
    date, uuid = read_cursor(cursor)
    return Place(date, UUID(uuid))


def write_place(place: Place | None) -> str | None:
    """Return the cursor of a place; None when there is none, after the last page."""
    return None if place is None else write_cursor(Position(place.rejected_at, str(place.id)))
