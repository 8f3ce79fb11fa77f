"""Runs: consecutive records of one partition, delivered to the agent as a single event."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.epoch import Epoch
from worker.pipeline.record import Record


@dataclass(frozen=True, slots=True)
class Run:
    """
    One delivery of a partition.

    Args:
        start: the end of the previous delivery; offsets from here to the first record hold no records for us.
        next_offset: one past the last record.
        records: at least one, offsets rising.
        epoch: when it has ended, the run counts for nothing: its records will be delivered again.
    """

    topic: str
    partition: int
    start: int
    next_offset: int
    records: Sequence[Record]
    epoch: Epoch

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.start}..{self.next_offset - 1}"


def join(runs: Sequence[Run]) -> Run:
    """Return one run of those delivered one after the other in one epoch."""
    first, last = runs[0], runs[-1]
    if first is last:
        return first
    records = [record for run in runs for record in run.records]
    return Run(first.topic, first.partition, first.start, last.next_offset, records, first.epoch)
