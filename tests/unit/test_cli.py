"""The `referrals` command before any of its commands runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.cli import cli

PROJECT = Path(__file__).parents[2]
# of all commands but `worker`, each after the ones before it: what it loads that only a worker needs
LOAD = """
import sys, typer
from worker.cli import cli
commands = typer.main.get_command(cli).commands
for name in set(commands) - {"worker"}:
    commands[name]
    print(name, {"faust", "aiohttp", "fastapi", "uvicorn"} & set(sys.modules) or "")
"""


def test_commands_load_nothing_that_only_a_worker_needs() -> None:
    """A command that runs no worker is there at once: it loads neither Faust nor the web, which take a second."""
    loaded = subprocess.run([sys.executable, "-c", LOAD], cwd=PROJECT, capture_output=True, text=True, check=True)
    said = {line.strip() for line in loaded.stdout.splitlines()}
    assert {"check", "config", "migrate", "publish", "stats", "topics"} <= said
    assert all(line.isalpha() for line in said), loaded.stdout


def test_a_misspelt_command_is_told_its_right_name() -> None:
    """Commands that are not loaded yet are known by their names."""
    with pytest.raises(Exception, match="Did you mean 'stats'") as refusal:
        cli(["staats"], standalone_mode=False)
    assert refusal.typename == "UsageError"
