"""What readers get of the whole: workers as they announce themselves, and the overview of everything stored."""

from pydantic import BaseModel, Field

from schemas.stats import TopCode, Usage, UtcDate


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

    items: list[Worker]


class PartitionCounts(BaseModel):
    """Partitions of the usages topic."""

    total: int = Field(ge=1)
    live: int = Field(ge=0, description="those that a worker reads, and whose lag it knows")


class Overview(BaseModel):
    """Everything stored, of one moment, and how fresh it is."""

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
