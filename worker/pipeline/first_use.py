"""First uses: whether anything stored has a (code, user) pair already. What answers faster joins here."""

from collections.abc import Iterable

from psycopg import AsyncCursor

from worker.pipeline.binary import uuid_array
from worker.pipeline.decode import Usage
from worker.sql import queries


async def find_used(cursor: AsyncCursor, usages: Iterable[Usage]) -> set[bytes]:
    """Return those (code, user) pairs of the usages, 32 bytes each, that a stored usage has already."""
    pairs = list({usage.code + usage.user for usage in usages})
    await cursor.execute(
        queries["find_used"],
        {"codes": uuid_array([pair[:16] for pair in pairs]), "users": uuid_array([pair[16:] for pair in pairs])},
    )
    return {pairs[place - 1] for (place,) in await cursor.fetchall()}
