"""`referrals migrate`: makes the schema, or brings it up to date."""

import asyncio

import typer

from worker import log
from worker.migrate import MIGRATIONS, migrate
from worker.settings import Settings
from worker.startup import connect, wait_for


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
