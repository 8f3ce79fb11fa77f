"""The `referrals` command: its subcommands, and what a person reads when one of them fails."""

import sys
from typing import Annotated, Final

import typer

from worker.app import VERSION
from worker.commands.check import check
from worker.commands.config import config
from worker.commands.migrate import run_migrations
from worker.commands.publish import publish
from worker.commands.rejections import rejections
from worker.commands.repair import run_repair
from worker.commands.skip import run_skip
from worker.commands.stats import show_stats
from worker.commands.topics import topics
from worker.commands.verify import run_verify
from worker.commands.worker import run_worker
from worker.errors import SettingsError, WorkerError
from worker.process import EXIT_FAILURE

EXIT_SETTINGS: Final = 2

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
cli.command("worker")(run_worker)
cli.command("migrate")(run_migrations)
cli.command("publish")(publish)
cli.command("check")(check)
cli.add_typer(topics, name="topics")
cli.command("config")(config)
cli.command("verify")(run_verify)
cli.command("repair")(run_repair)
cli.command("skip")(run_skip)
cli.command("stats")(show_stats)
cli.add_typer(rejections, name="rejections")


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
