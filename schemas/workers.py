"""What readers get of the whole: workers as they announce themselves, and the overview of everything stored."""

from typing import Any, Final

from pydantic import BaseModel, Field

from schemas.stats import CODE_EXAMPLE, DATE_EXAMPLE, USAGE, TopCode, Usage, UtcDate, example

_WORKER_EXAMPLE: Final[dict[str, Any]] = {
    "url": "http://127.0.0.1:8080",
    "version": "1.0.0",
    "started_at": "2026-01-31T11:00:00Z",
    "seen_at": DATE_EXAMPLE,
    "rate": 1250.5,
    "partitions": [{"partition": 0, "position": 4712, "lag": 0}],
}


class PartitionProgress(BaseModel):
    """How far a worker is in a partition."""

    partition: int = Field(ge=0)
    position: int = Field(ge=0, description="next offset to store")
    lag: int | None = Field(ge=0, description="offsets that wait to be stored; null while it is not known")


class Worker(BaseModel):
    """A worker, as it announced itself a moment ago."""

    url: str
    version: str
    started_at: UtcDate
    seen_at: UtcDate
    rate: float = Field(ge=0, description="usages stored a second, over the last 10 s")
    partitions: list[PartitionProgress] = Field(description="those that it reads")


class Workers(BaseModel):
    """All workers seen within the last 10 s."""

    model_config = example(items=[_WORKER_EXAMPLE])

    items: list[Worker]


class PartitionCounts(BaseModel):
    """Partitions of the usages topic."""

    total: int = Field(ge=1)
    live: int = Field(ge=0, description="those that a worker reads, and whose lag it knows")


class Overview(BaseModel):
    """Everything stored, of one moment, and how fresh it is."""

    model_config = example(
        total_uses=3,
        codes=1,
        first_uses=1,
        rejected=0,
        top_codes=[{"code_uuid": CODE_EXAMPLE, "total_uses": 3, "unique_users": 1, "last_used": DATE_EXAMPLE}],
        recent_usages=[USAGE],
        lag=0,
        partitions={"total": 1, "live": 1},
        workers=1,
        stored_up_to=DATE_EXAMPLE,
    )

    total_uses: int = Field(ge=0)
    codes: int = Field(ge=0, description="codes used at least once")
    first_uses: int = Field(ge=0, description="usages that were a user's first of a code")
    rejected: int = Field(ge=0, description="records kept as rejects")
    top_codes: list[TopCode] = Field(description="the most used codes")
    recent_usages: list[Usage] = Field(description="the latest usages of all codes")
    lag: int | None = Field(ge=0, description="offsets that wait to be stored; null unless every partition is live")
    partitions: PartitionCounts
    workers: int = Field(ge=0, description="workers seen within the last 10 s")
    stored_up_to: UtcDate | None = Field(
        description="everything published before is stored; null unless every partition is live"
    )
