"""The `referrals` command."""

import asyncio
import sys
from typing import Annotated, Final

import typer
from pydantic import ValidationError

from schemas import UsageEvent
from worker import log
from worker.app import VERSION, build
from worker.errors import SettingsError, WorkerError
from worker.migrate import MIGRATIONS, migrate
from worker.pipeline.decode import explain_fields
from worker.process import EXIT_FAILURE
from worker.publish import publish_event
from worker.settings import BrokerSettings, Settings
from worker.startup import connect, start_up, wait_for
from worker.web.server import bind

EXIT_SETTINGS: Final = 2

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"referrals {VERSION}")
        raise typer.Exit


@cli.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Store every use of a referral code exactly once, and show its statistics."""


@cli.command("worker")
def run_worker() -> None:
    """Consume usage events, store them, and serve statistics, until SIGTERM or Ctrl-C."""
    settings = Settings.load()
    log.configure(settings.log_format, settings.log_level)
    with bind(settings.web_host, settings.web_port) as web_socket:
        partition_count = asyncio.run(start_up(settings))
        # Faust and its services bind to the loop they are built on
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        raise typer.Exit(build(settings, partition_count, web_socket, loop=loop).run())


@cli.command("migrate")
def run_migrations() -> None:
    """Bring the database schema to the state that this version needs."""
    settings = Settings.load()
    log.configure(settings.log_format, settings.log_level)

    async def apply() -> None:
        async with await wait_for("PostgreSQL", lambda: connect(settings), settings.start_timeout_s) as conn:
            applied = await migrate(conn)
        for migration in applied:
            typer.echo(f"applied {migration.version:04d} {migration.name}")
        typer.echo(f"the schema has version {MIGRATIONS[-1].version}")

    asyncio.run(apply())


@cli.command()
def publish(
    code: Annotated[str, typer.Option(help="UUID of the referral code.")],
    user: Annotated[str, typer.Option(help="UUID of the user who used it.")],
    date: Annotated[str | None, typer.Option(help="When, as in 2026-01-31T12:00:00Z; default: now.")] = None,
    event_id: Annotated[
        str | None, typer.Option(help="Your identity for this usage; a repeated one counts once.")
    ] = None,
) -> None:
    """Publish one usage event and wait until Kafka has acknowledged it."""
    settings = BrokerSettings.load()
    try:
        event = UsageEvent(code_uuid=code, used_by_uuid=user, date_used=date, event_id=event_id)
    except ValidationError as error:
        raise SettingsError("\n".join(explain_fields(error))) from error
    topic, partition, offset = asyncio.run(publish_event(settings, event))
    typer.echo(f"published {topic}[{partition}]@{offset}")


def main() -> None:
    """Run the command; an error of ours is its own words on one line each, never a traceback."""
    try:
        cli()
    except WorkerError as error:
        for line in str(error).splitlines():
            typer.echo(f"referrals: {line}", err=True)
        sys.exit(EXIT_SETTINGS if type(error) is SettingsError else EXIT_FAILURE)


if __name__ == "__main__":
    main()
