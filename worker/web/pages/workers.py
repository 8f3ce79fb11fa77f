"""The page of the workers: who is here, and how far each partition is, those that nobody reads included."""

from typing import NamedTuple

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.workers import PartitionProgress, Worker
from worker.web.overview import OverviewReader
from worker.web.rendering import Templates


class PartitionLine(NamedTuple):
    """A partition and who reads it; None when nobody does, or says so."""

    partition: int
    worker: Worker | None
    progress: PartitionProgress | None


def create_workers_page(overview_reader: OverviewReader, templates: Templates) -> APIRouter:
    """Return the route /workers."""
    page = APIRouter()

    @page.get("/workers")
    async def show_workers() -> Response:
        everything = await overview_reader.read()
        workers = everything.workers.items
        return templates.page(
            "workers.html",
            overview=everything.overview,
            workers=workers,
            rate=sum(worker.rate for worker in workers),
            lines=to_lines(workers, everything.overview.partitions.total),
        )

    return page


def to_lines(workers: list[Worker], partition_count: int) -> list[PartitionLine]:
    """Return a line for each partition of the topic, and one for each worker where several announce the same."""
    read = [PartitionLine(each.partition, worker, each) for worker in workers for each in worker.partitions]
    unread = set(range(partition_count)) - {line.partition for line in read}
    return sorted([*read, *(PartitionLine(partition, None, None) for partition in unread)], key=lambda line: line[0])
