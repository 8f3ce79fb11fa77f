"""The `referrals` command: its subcommands, and what a person reads when one of them fails."""

import gc
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from worker.errors import SettingsError, WorkerError
from worker.exit_codes import EXIT_FAILURE, EXIT_SETTINGS
from worker.version import VERSION

# by the name of the command and of its module in `worker.commands`: what is the command there
_COMMANDS: Final = {
    "worker": "run_worker",
    "migrate": "run_migrations",
    "publish": "publish",
    "check": "check",
    "topics": "topics",
    "config": "config",
    "verify": "run_verify",
    "repair": "run_repair",
    "skip": "run_skip",
    "stats": "show_stats",
    "rejections": "rejections",
}


class _Commands(Mapping[str, Any]):
    """
    The commands by their names, each loaded when it is asked for.

    Faust and FastAPI take more than a second to load, and all commands but `worker` do without.
    """

    def __getitem__(self, name: str) -> Any:
        attribute = _COMMANDS[name]
        # nothing that is imported is garbage, and looking for it took a fifth of a worker's imports
        gc.disable()
        try:
            command = getattr(import_module(f"worker.commands.{name}"), attribute)
        finally:
            gc.enable()
        if not isinstance(command, typer.Typer):
            single = typer.Typer(add_completion=False)
            single.command(name)(command)
            command = single
        made = typer.main.get_command(command)
        made.name = name
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Group(TyperGroup):
    def __init__(self, **options: Any) -> None:
        options["commands"] = _Commands()
        super().__init__(**options)


cli = typer.Typer(cls=_Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


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
