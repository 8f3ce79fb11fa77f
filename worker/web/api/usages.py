"""What the API says of a single usage."""

from http import HTTPStatus

from fastapi import APIRouter, HTTPException

from schemas.stats import StoredUsage
from worker.web.paths import UsageUuid
from worker.web.problems import described
from worker.web.queries import Reader


def create_usages(reader: Reader) -> APIRouter:
    """Return the routes that read under /usages."""
    usages = APIRouter(prefix="/usages", tags=["usages"])

    @usages.get("/{uuid}", responses=described(HTTPStatus.NOT_FOUND))
    async def read_usage(uuid: UsageUuid) -> StoredUsage:
        """One usage, with the record that it was stored from; 404 when it is not stored."""
        usage = await reader.usage(uuid)
        if usage is None:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, f"no usage {uuid} is stored; its event may be on its way, or was rejected"
            )
        return usage

    return usages
