"""`referrals repair`: makes statistics, hours, first uses and positions anew from the rows and the topic as it is."""

import asyncio
from functools import partial
from typing import Annotated

import typer

from worker import log
from worker.errors import SettingsError, TopicRecreatedError
from worker.mend.compare import Findings
from worker.mend.repair import read_positions, repair
from worker.mend.report import progress_bar, to_lines
from worker.mend.session import mending
from worker.mend.topic import Position, count_partitions, find_recreated, read_members
from worker.mend.verify import verify
from worker.settings import Settings


def run_repair(
    topic_recreated: Annotated[
        bool, typer.Option("--topic-recreated", help="The topic was deleted and created anew: read it from its start.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before positions go back.")] = False,
) -> None:
    """Make statistics anew from the rows, where their codes hash now; no worker may run, and all or nothing is done."""
    settings = Settings.load()
    log.configure(settings.log_format, settings.log_level)
    if topic_recreated:
        typer.echo(
            f"the topic was created anew, or lost what it had acknowledged: {asyncio.run(_find_recreated(settings))}"
        )
        typer.echo("every position goes back to 0, and workers read the topic from its first record; rows stay")
        if not (yes or dry_run):
            typer.confirm("go on?", abort=True)
    findings = asyncio.run(_mend(settings, topic_recreated=topic_recreated, dry_run=dry_run))
    for line in to_lines(findings):
        typer.echo(line)
    amount = (
        f"{findings.wrong_codes:,} codes, {findings.wrong_hours:,} hours and "
        f"{len(findings.wrong_positions):,} positions"
    )
    if dry_run:
        typer.echo(f"{amount} would be mended; nothing was changed")
    else:
        typer.echo(f"{amount} mended" + ("; every position is 0" if topic_recreated else ""))


async def _find_recreated(settings: Settings) -> str:
    partition_count = await count_partitions(settings)
    async with mending(settings) as conn:
        positions = await read_positions(conn, settings.usages_topic)
    found = await find_recreated(settings, partition_count, positions)
    if found is None:
        raise SettingsError(
            f"nothing shows that {settings.usages_topic} was created anew: no position is behind its end, and no "
            "record before a position is another one. Run `referrals repair` by itself"
        )
    return found


async def _mend(settings: Settings, *, topic_recreated: bool, dry_run: bool) -> Findings:
    topic = settings.usages_topic
    partition_count = await count_partitions(settings)
    async with mending(settings) as conn:
        if not topic_recreated:
            _refuse_shrunk(topic, partition_count, await read_positions(conn, topic))
        with progress_bar() as progress:
            if dry_run:
                return await verify(conn, topic, partition_count, progress)
            return await repair(
                conn, topic, partition_count, progress,
                read_members=partial(read_members, settings), restarts=topic_recreated,
            )  # fmt: skip


def _refuse_shrunk(topic: str, partition_count: int, positions: list[Position]) -> None:
    most = max((position.partition_count for position in positions), default=0)
    if most > partition_count:
        raise TopicRecreatedError(
            f"{topic} has {partition_count} partitions, its positions were stored with {most}: a topic never loses "
            "partitions, so it was created anew. Run `referrals repair --topic-recreated`"
        )
