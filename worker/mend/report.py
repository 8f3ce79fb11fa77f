"""What a person, or a program, reads of a comparison; and how far it is while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar

from worker.mend.compare import Difference, Findings, HourDifference, Progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show on a terminal's standard error what is done; nothing elsewhere."""
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(step: str, done: int, total: int) -> None:
            bar.update(task, description=step, completed=done, total=total or None)

        yield show


def to_lines(findings: Findings) -> Iterator[str]:
    """Tell findings in lines: a table of partitions, wrong positions, the first wrong codes and hours."""
    yield f"{'partition':>9}  {'codes':>12}  {'rows':>14}  {'wrong':>12}"
    for summary in findings.partitions:
        yield f"{summary.partition:>9}  {summary.codes:>12,}  {summary.usages:>14,}  {summary.wrong:>12,}"
    for position in findings.wrong_positions:
        yield (
            f"position of partition {position.partition}: stored with {position.partition_count} partitions, "
            f"the topic has {len(findings.partitions)}"
        )
    for difference in findings.differences:
        yield f"{difference.code_uuid}: {'; '.join(_explain(difference))}"
    if (more := findings.wrong_codes - len(findings.differences)) > 0:
        yield f"and {more:,} codes more"
    for hour in findings.hour_differences:
        yield f"partition {hour.kafka_partition}, hour from {hour.hour}: {_explain_hour(hour)}"
    if (more := findings.wrong_hours - len(findings.hour_differences)) > 0:
        yield f"and {more:,} hours more"


def to_json(findings: Findings) -> dict[str, Any]:
    """Tell findings as one document."""
    return {"equal": findings.is_equal, "wrong_codes": findings.wrong_codes, **asdict(findings)}


def _explain(difference: Difference) -> Iterator[str]:
    for what in difference.wrong:
        if what == "missing":
            yield f"no statistics, the rows say {difference.total_uses} uses by {difference.unique_users} users"
        elif what == "superfluous":
            yield (
                f"statistics of {difference.stored_total_uses} uses by {difference.stored_unique_users} users, "
                "there are no rows"
            )
        elif what == "kafka_partition":
            yield f"kafka_partition {difference.stored_partition}, the code hashes to {difference.partition}"
        elif what == "first_use":
            yield f"{difference.unclear_pairs} users without exactly one first use"
        else:
            stored, counted = getattr(difference, f"stored_{what}"), getattr(difference, what)
            yield f"{what} {_show(stored)}, the rows say {_show(counted)}"


def _explain_hour(hour: HourDifference) -> str:
    if hour.stored_uses is None:
        return f"not stored, the rows say {hour.uses} uses, {hour.first_uses} of them first"
    stored = f"{hour.stored_uses} uses, {hour.stored_first_uses} of them first"
    if hour.uses is None:
        return f"{stored}; there are no rows"
    return f"{stored}; the rows say {hour.uses}, {hour.first_uses} of them first"


def _show(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
