"""`referrals stats`: the statistics of one code, on the terminal."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from schemas.stats import CodeStats
from worker.database import Database
from worker.errors import SettingsError
from worker.settings import Settings
from worker.web.params import UUID_EXAMPLE, read_uuid
from worker.web.queries import Reader


def show_stats(
    code: Annotated[str, typer.Argument(help="UUID of the referral code.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON that the API answers with.")] = False,
) -> None:
    """Show total uses, unique users, last use and recent users of a code, as PostgreSQL has them."""
    settings = Settings.load()
    code_uuid = read_uuid(code)
    if code_uuid is None:
        raise SettingsError(f"{code!r} is not a UUID of 36 characters with hyphens, such as {UUID_EXAMPLE}")
    stats = asyncio.run(_read(settings, code_uuid))
    if as_json:
        typer.echo(stats.model_dump_json())
    else:
        Console().print(_table(stats) if stats.total_uses else f"the code {code_uuid} was never used")


async def _read(settings: Settings, code_uuid: str) -> CodeStats:
    database = Database(settings)
    async with database:
        return await Reader(database, settings.usages_topic).code_stats(code_uuid)


def _table(stats: CodeStats) -> Table:
    table = Table(title=f"code {stats.code_uuid}", title_justify="left", show_header=False)
    table.add_row("total uses", f"{stats.total_uses:,}")
    table.add_row("unique users", f"{stats.unique_users:,}")
    table.add_row("last used", f"{stats.last_used:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("recent users", "\n".join(stats.recent_users))
    return table
