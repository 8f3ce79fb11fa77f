"""`referrals publish`: puts usage events on the topic."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.errors import RecordRejectedError, SettingsError
from worker.exit_codes import EXIT_FAILURE
from worker.pipeline.decode import Decoder
from worker.publishing.draft import judge, to_value
from worker.publishing.files import (
    FORMAT_OF_ENDING,
    BadLine,
    Checked,
    Event,
    FileFormat,
    check,
    open_input,
    read_events,
)
from worker.publishing.producer import Published, open_topic
from worker.settings import BrokerSettings

_STANDARD_INPUT: Final = "-"
_BAD_LINES_SHOWN: Final = 20


def publish(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="Events as NDJSON or CSV; - reads standard input.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="UUID of the referral code.")] = None,
    user: Annotated[str | None, typer.Option(help="UUID of the user who used it.")] = None,
    date: Annotated[str | None, typer.Option(help="When, as in 2026-01-31T12:00:00Z; default: now.")] = None,
    event_id: Annotated[
        str | None, typer.Option(help="Your identity for this usage; a repeated one counts once.")
    ] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Of FILE; default: by its ending, ndjson for -.")
    ] = None,
    from_line: Annotated[
        int | None, typer.Option(min=1, help="Begin at this line of FILE, to go on after an interruption.")
    ] = None,
) -> None:
    """
    Publish one usage event by options, or many from FILE, and wait until Kafka has acknowledged them.

    A file is checked whole before anything is published: a bad line means that none of it is.
    """
    of_event = {"--code": code, "--user": user, "--date": date, "--event-id": event_id}
    of_file = {"--format": file_format, "--from-line": from_line}
    _refuse_contradictions(file, of_event, of_file)
    settings = BrokerSettings.load()
    decoder = Decoder(settings.usages_topic, future_max_s=settings.future_max_s)
    # what aiokafka logs while a broker is away, the error at the end says once
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if file is None:
        fields = {"code_uuid": code, "used_by_uuid": user, "date_used": date, "event_id": event_id}
        event = _judge_options(decoder, {name: text for name, text in fields.items() if text is not None})
        topic, partition, offset = asyncio.run(_publish_one(settings, event))
        typer.echo(f"published {topic}[{partition}]@{offset}")
        return
    file_format = file_format or _format_of(file)
    path = None if file == _STANDARD_INPUT else Path(file)
    with open_input(path, sys.stdin.buffer) as events:
        _publish_file(settings, decoder, events, file_format, from_line or 1, name=file if path else "<stdin>")


def _refuse_contradictions(file: str | None, of_event: Mapping[str, str | None], of_file: Mapping[str, object]) -> None:
    if file is None:
        if given := [name for name, value in of_file.items() if value is not None]:
            raise SettingsError(f"{given[0]} says how to read a FILE, but none is given")
        if missing := [name for name in ("--code", "--user") if of_event[name] is None]:
            raise SettingsError(f"{missing[0]} is missing: give --code and --user, or a FILE of events")
    elif given := [name for name, value in of_event.items() if value is not None]:
        raise SettingsError(
            f"FILE and {given[0]} exclude each other: publish a file of events, or one event by options"
        )


def _format_of(file: str) -> FileFormat:
    if file == _STANDARD_INPUT:
        return FileFormat.NDJSON
    try:
        return FORMAT_OF_ENDING[Path(file).suffix.lower()]
    except KeyError:
        endings = ", ".join(FORMAT_OF_ENDING)
        raise SettingsError(f"{file!r} ends in none of {endings}: say --format ndjson or --format csv") from None


def _judge_options(decoder: Decoder, fields: dict[str, str]) -> Event:
    value = to_value(fields)
    try:
        return Event(1, value, judge(decoder, value).code)
    except RecordRejectedError as error:
        raise SettingsError(f"{error.detail} ({error.reason})") from error


async def _publish_one(settings: BrokerSettings, event: Event) -> Published:
    async with open_topic(settings) as topic:
        return await topic.publish(event)


def _publish_file(
    settings: BrokerSettings,
    decoder: Decoder,
    file: BinaryIO,
    file_format: FileFormat,
    from_line: int,
    *,
    name: str,
) -> None:
    def read() -> Iterator[Event | BadLine]:
        return read_events(file, file_format, decoder, from_line=from_line)

    async def send(on_progress: Callable[[int], None]) -> int:
        async with open_topic(settings) as topic:
            return await topic.publish_all(read(), from_line=from_line, on_progress=on_progress)

    with _progress() as progress:
        checking = progress.add_task(f"checking {name}", total=None)
        checked = check(read(), bad_max=_BAD_LINES_SHOWN)
        progress.remove_task(checking)
        if checked.bad_count:
            progress.stop()
            _refuse(checked, name)
        publishing = progress.add_task(f"publishing {name}", total=checked.event_count)
        count = asyncio.run(send(lambda acknowledged: progress.update(publishing, completed=acknowledged)))
    typer.echo(f"published {count} events to {settings.usages_topic}")


def _refuse(checked: Checked, name: str) -> NoReturn:
    for line, detail in checked.first_bad:
        typer.echo(f"{name}:{line}: {detail}", err=True)
    if more := checked.bad_count - len(checked.first_bad):
        typer.echo(f"and {more} more", err=True)
    typer.echo(f"nothing was published: mend the bad lines ({checked.bad_count}) and try again", err=True)
    raise typer.Exit(EXIT_FAILURE)


def _progress() -> Progress:
    # on standard error, and nothing at all where nobody watches
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
