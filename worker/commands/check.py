"""`referrals check`: whether everything is as a worker needs it, and what to do where it is not."""

import asyncio
import json
import logging
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from worker import log
from worker.check.everything import check_all, find_wrong_settings
from worker.check.finding import Finding, Level
from worker.errors import SettingsError
from worker.exit_codes import EXIT_FAILURE
from worker.settings import Settings

_STYLES: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red", Level.NOT_CHECKED: "dim"}
_LEVEL_WIDTH: Final = max(len(level.value) for level in Level)


def check(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check settings, Kafka, topics, codecs and database; the exit code is 0 when nothing fails."""
    log.configure("text", "error")
    # what Kafka's client would log is said by the finding
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        findings = asyncio.run(check_all(Settings.load()))
    except SettingsError as error:
        findings = find_wrong_settings(str(error).splitlines())
    is_ok = all(finding.level is not Level.FAIL for finding in findings)
    if as_json:
        rows = [{**asdict(finding), "level": finding.level.value} for finding in findings]
        typer.echo(json.dumps({"ok": is_ok, "findings": rows}, indent=2))
    else:
        _print(findings)
    if not is_ok:
        raise typer.Exit(EXIT_FAILURE)


def _print(findings: list[Finding]) -> None:
    # colours on a terminal alone, and no line cut where it is not one
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        line = Text(finding.level.value.ljust(_LEVEL_WIDTH + 2), style=_STYLES[finding.level])
        line.append(f"{finding.subject}: {finding.detail}", style="default")
        console.print(line)
        if finding.remedy:
            console.print(Text(f"{'':{_LEVEL_WIDTH + 2}}→ {finding.remedy}"))
