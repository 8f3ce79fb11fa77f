"""`referrals rejections`: looks at rejects, and publishes them again."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import typer
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.rejection import Reason, Rejection, RejectionSummary
from worker import log
from worker.database import Database
from worker.errors import BrokerUnavailableError, SettingsError
from worker.pipeline.record import Message
from worker.rejections import BATCH_COUNT, LATEST, Place, Rejections, Republisher
from worker.settings import Settings
from worker.startup import check_database, wait_for
from worker.text import hex_lines, printable

_START_S: Final = 30.0
# a value is at most 64 KiB unless that is its fault; a person looks at less, and --raw has it all
_SHOWN_MAX_BYTES: Final = 4096
_HEX_WIDTH: Final = 16

ReasonOption = Annotated[Reason | None, typer.Option(help="Only rejects of this reason.")]
IdArgument = Annotated[UUID, typer.Argument(help="Id of the reject.")]

rejections = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Look at records that could not be stored; publish them again."
)


@rejections.command("list")
def list_rejections(
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most rejects to list.")] = 50,
) -> None:
    """List rejects, the latest first, a line each; below them how many there are of each reason."""
    settings = _load()

    async def read() -> None:
        async with _opened(settings) as rows:
            items, next_place = await rows.page(reason, LATEST, limit)
            counts = await rows.counts()
        for item in items:
            columns = _moment(item.rejected_at), item.id, _where(item), item.reason, _retries(item), item.detail
            typer.echo("  ".join(columns))
        if next_place is not None:
            typer.echo("... and more: --limit shows up to 1000, `referrals rejections export` all")
        typer.echo(", ".join(f"{item.count} {item.reason}" for item in counts.items) or "no rejects")

    asyncio.run(read())


@rejections.command("show")
def show_rejection(
    id: IdArgument,  # noqa: A002 - the name is the contract's
    raw: Annotated[bool, typer.Option("--raw", help="Write the value alone, as it is.")] = False,
) -> None:
    """Show a reject: where it was, what is wrong with it, and its value as text and as hex."""
    settings = _load()

    async def read() -> Rejection:
        async with _opened(settings) as rows:
            found = await rows.whole([id])
        if not found:
            raise SettingsError(f"no reject has the id {id}: it never had one, or its record is stored by now")
        return found[0]

    rejection = asyncio.run(read())
    if raw:
        sys.stdout.buffer.write(rejection.value or b"")
    else:
        typer.echo("\n".join(_describe(rejection)))


@rejections.command("retry")
def retry_rejections(
    ids: Annotated[list[UUID] | None, typer.Argument(help="Ids of the rejects.")] = None,
    reason: ReasonOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All rejects.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """
    Publish rejects again, as the records they were: those of these ids, of a reason, or all.

    Each is stored, or is a duplicate, and leaves the list; or is rejected again, and stays.
    """
    if bool(ids) + (reason is not None) + everything != 1:
        raise SettingsError("name the rejects: either ids, or --reason, or --all")
    settings = _load()
    if not yes:
        count = len(ids) if ids else asyncio.run(_count(settings, reason))
        typer.confirm(f"publish {count} rejects to {settings.usages_topic} again?", abort=True)

    async def retry() -> tuple[int, int]:
        retried = too_large = 0
        async with _opened(settings) as rows, _republisher(settings, rows) as republisher:
            if ids:
                for start in range(0, len(ids), BATCH_COUNT):
                    done = await republisher.republish(ids[start : start + BATCH_COUNT])
                    retried += len(done.attempts)
                    too_large += len(done.too_large)
                return retried, too_large
            place: Place | None = LATEST
            while place is not None:
                done, place = await republisher.republish_page(reason, place, BATCH_COUNT)
                retried += len(done.attempts)
                too_large += len(done.too_large)
        return retried, too_large

    retried, too_large = asyncio.run(retry())
    typer.echo(f"published {retried} again; they are stored, or rejected again, as soon as a worker reads them")
    if too_large:
        typer.echo(f"left {too_large} as they are: too large to be published, and to be stored", err=True)
    if ids and retried + too_large < len(set(ids)):
        typer.echo(f"{len(set(ids)) - retried - too_large} are no rejects, or not any more", err=True)


@rejections.command("export")
def export_rejections(reason: ReasonOption = None) -> None:
    """Write rejects, whole, to standard output: a JSON object on each line, bytes as base64."""
    settings = _load()

    async def export() -> None:
        async with _opened(settings) as rows:
            place: Place | None = LATEST
            while place is not None:
                items, place = await rows.page(reason, place, BATCH_COUNT)
                for rejection in await rows.whole([UUID(item.id) for item in items]):
                    typer.echo(rejection.model_dump_json())

    asyncio.run(export())


def _load() -> Settings:
    settings = Settings.load()
    log.configure(settings.log_format, settings.log_level)
    return settings


async def _count(settings: Settings, reason: Reason | None) -> int:
    async with _opened(settings) as rows:
        counts = await rows.counts()
    return sum(item.count for item in counts.items if reason is None or item.reason == reason)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Rejections]:
    await wait_for("PostgreSQL", lambda: check_database(settings), settings.start_timeout_s)
    few = settings.model_copy(update={"database_connections": 1, "reader_connections": 1})
    database = Database(few)
    async with database:
        yield Rejections(database)


@asynccontextmanager
async def _republisher(settings: Settings, rows: Rejections) -> AsyncIterator[Republisher]:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all", enable_idempotence=True)

    async def send(message: Message) -> None:
        topic, partition, key, value, headers = message
        try:
            await producer.send_and_wait(topic, value, key, partition, headers=headers)
        except KafkaError as error:
            raise BrokerUnavailableError(f"the topic {topic!r} does not take messages: {error!r}") from error

    try:
        try:
            async with asyncio.timeout(_START_S):
                await producer.start()
                partitions = await producer.partitions_for(settings.usages_topic)
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailableError(
                f"Kafka at {settings.bootstrap_servers} is not there: {type(error).__name__} {error}".rstrip()
            ) from error
        yield Republisher(rows, len(partitions), send)
    finally:
        await producer.stop()


def _describe(rejection: Rejection) -> list[str]:
    value = rejection.value
    timestamp = "none" if rejection.kafka_timestamp is None else _moment(rejection.kafka_timestamp)
    retried_at = "never" if rejection.retried_at is None else _moment(rejection.retried_at)
    lines = [
        f"id         {rejection.id}",
        f"reason     {rejection.reason}",
        f"detail     {rejection.detail}",
        f"record     {_where(rejection)}",
        f"timestamp  {timestamp}",
        f"rejected   {_moment(rejection.rejected_at)}",
        f"retried    {retried_at}, {_retries(rejection)}",
        f"key        {_text(rejection.key)}",
        *(f"header     {header.name}: {_text(header.value)}" for header in rejection.headers),
        f"value      {'null' if value is None else f'{len(value)} bytes'}",
    ]
    if value:
        shown = value[:_SHOWN_MAX_BYTES]
        lines += ["", _text(shown), "", *hex_lines(shown, _HEX_WIDTH)]
        if len(value) > len(shown):
            lines.append(f"... {len(value) - len(shown)} more bytes; --raw writes them all")
    return lines


def _text(value: bytes | None) -> str:
    return "null" if value is None else printable(value.decode("utf-8", "backslashreplace"))


def _where(rejection: Rejection | RejectionSummary) -> str:
    return f"{rejection.kafka_topic}[{rejection.kafka_partition}]@{rejection.kafka_offset}"


def _retries(rejection: Rejection | RejectionSummary) -> str:
    waiting = ", waiting" if rejection.waiting else ""
    return f"attempts {rejection.attempts}{waiting}"


def _moment(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")
