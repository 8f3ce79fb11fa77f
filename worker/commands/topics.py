"""`referrals topics`: makes, compares and grows the topics in Kafka."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

import typer

from worker import log
from worker.exit_codes import EXIT_FAILURE
from worker.settings import Settings
from worker.startup import wait_for
from worker.topics import (
    CONFIGS,
    TopicDescription,
    create_missing,
    describe,
    differences,
    grow,
    kafka_admin,
    topic_names,
)

topics = typer.Typer(no_args_is_help=True, add_completion=False, help="Make, compare and grow the topics in Kafka.")


@topics.command("create")
def create() -> None:
    """Create the topics that are missing; what is there stays as it is."""
    settings = _load()

    async def apply() -> tuple[list[str], dict[str, TopicDescription]]:
        async with kafka_admin(settings) as admin:
            created = await create_missing(admin, settings)
            return created, await describe(admin, topic_names(settings))

    what = f"Kafka at {settings.bootstrap_servers}"
    created, found = asyncio.run(wait_for(what, apply, settings.start_timeout_s))
    for name in topic_names(settings):
        said = "created" if name in created else "was there"
        partitions = f", {found[name].partitions} partitions" if name in found else ""
        typer.echo(f"{said}: {name}{partitions}")


@topics.command("compare")
def compare() -> None:
    """Show the topics, and where they differ from what the settings want; the exit code is 1 when they do."""
    settings = _load()

    async def ask() -> dict[str, TopicDescription]:
        async with kafka_admin(settings) as admin:
            return await describe(admin, topic_names(settings))

    found = asyncio.run(ask())
    _print_table(found)
    differing = list(differences(found, settings))
    for difference in differing:
        typer.echo(f"{difference.topic} {difference.detail}: {difference.remedy}")
    if differing:
        raise typer.Exit(EXIT_FAILURE)
    typer.echo("all topics are as the settings want them")


def _print_table(found: Mapping[str, TopicDescription]) -> None:
    rows = [["topic", "partitions", "replicas", *CONFIGS]]
    rows += [
        [topic.name, str(topic.partitions), str(topic.replicas), *(topic.configs[key] for key in CONFIGS)]
        for topic in found.values()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@topics.command("grow")
def grow_topics(
    partitions: Annotated[int, typer.Option(min=1, max=4096, help="Number of partitions to have afterwards.")],
) -> None:
    """Add partitions to the usages topic while no worker runs; `referrals repair` must follow."""
    settings = _load()

    async def apply() -> list[TopicDescription]:
        async with kafka_admin(settings) as admin:
            return await grow(admin, settings, partitions)

    grown = asyncio.run(apply())
    for topic in grown:
        typer.echo(f"{topic.name}: {topic.partitions} partitions before, {partitions} now")
    if not grown:
        typer.echo(f"the topics have {partitions} partitions already")
    typer.echo(f"now set REFERRALS_PARTITIONS={partitions}, run `referrals repair`, then start workers")


def _load() -> Settings:
    settings = Settings.load()
    log.configure(settings.log_format, settings.log_level)
    return settings
