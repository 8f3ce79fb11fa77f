"""`referrals verify`: whether statistics are what the rows say."""

import asyncio
import json
from typing import Annotated

import typer

from worker import log
from worker.exit_codes import EXIT_FAILURE
from worker.mend.compare import Findings
from worker.mend.report import progress_bar, to_json, to_lines
from worker.mend.session import mending
from worker.mend.topic import count_partitions
from worker.mend.verify import verify
from worker.settings import Settings


def run_verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare all statistics with the rows, beside workers that go on; the exit code is 1 when they differ."""
    settings = Settings.load()
    log.configure(settings.log_format, settings.log_level)

    async def look() -> Findings:
        partition_count = await count_partitions(settings)
        async with mending(settings) as conn:
            with progress_bar() as progress:
                return await verify(conn, settings.usages_topic, partition_count, progress)

    findings = asyncio.run(look())
    if as_json:
        typer.echo(json.dumps(to_json(findings), indent=2, default=str))
    else:
        for line in to_lines(findings):
            typer.echo(line)
        if findings.is_equal:
            typer.echo("the statistics are what the rows say")
        else:
            typer.echo("the statistics are not what the rows say: stop all workers and run `referrals repair`")
    if not findings.is_equal:
        raise typer.Exit(EXIT_FAILURE)
