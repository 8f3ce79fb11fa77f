"""`referrals skip`: passes a record that cannot be read, and keeps it as a reject."""

import asyncio
from typing import Annotated

import typer
from aiokafka import AIOKafkaProducer

from worker import log
from worker.errors import SettingsError
from worker.mend.session import mending
from worker.mend.skip import Unreadable, find_unreadable, read_position, skip
from worker.mend.topic import count_partitions, translated
from worker.pipeline.decode import Reject
from worker.pipeline.rejects import dead_letter
from worker.settings import Settings


def run_skip(
    topic: Annotated[str, typer.Argument(help="The usages topic, as /livez and the log name it.")],
    partition: Annotated[int, typer.Argument(min=0)],
    offset: Annotated[int, typer.Argument(min=0)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Keep a batch that cannot be read as an `unreadable` reject, and let its partition go on behind it."""
    settings = Settings.load()
    log.configure(settings.log_format, settings.log_level)
    if topic != settings.usages_topic:
        raise SettingsError(f"{topic!r} is not the usages topic, {settings.usages_topic!r}")
    found = asyncio.run(_look(settings, partition, offset))
    typer.echo(str(found))
    if not yes:
        typer.confirm("keep this as one reject and go on behind it?", abort=True)
    reject = asyncio.run(_skip(settings, found))
    typer.echo(f"kept as reject {reject.id}; the position is {found.next_offset}")


async def _look(settings: Settings, partition: int, offset: int) -> Unreadable:
    partition_count = await count_partitions(settings)
    if partition >= partition_count:
        raise SettingsError(f"{settings.usages_topic} has {partition_count} partitions, none is {partition}")
    async with mending(settings) as conn:
        position = await read_position(conn, settings.usages_topic, partition, partition_count)
    return await find_unreadable(settings, partition, offset, position)


async def _skip(settings: Settings, found: Unreadable) -> Reject:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all", enable_idempotence=True)

    async def send(reject: Reject) -> None:
        message = dead_letter(reject, settings.rejected_topic)
        async with translated(settings):
            await producer.send_and_wait(message.topic, message.value, key=message.key, headers=message.headers)

    try:
        async with translated(settings):
            await producer.start()
        async with mending(settings) as conn:
            return await skip(conn, settings, found, send)
    finally:
        await producer.stop()
