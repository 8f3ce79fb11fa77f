"""The composition root: the one place that picks what a worker is made of."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import cast

from aiokafka.errors import KafkaError
from faust.exceptions import NotReady, ProducerSendError

from worker.agents import UsageRuns, add_agent
from worker.announce import Announcer
from worker.database import Database
from worker.errors import BrokerUnavailableError
from worker.filters import Filters
from worker.health import Health
from worker.metrics import Metrics
from worker.pipeline.decode import Decoder
from worker.pipeline.record import Message, Send
from worker.process import WorkerProcess
from worker.publishing.intake import UsageIntake
from worker.rejections import Rejections, Republisher
from worker.runs.app import App, create_app
from worker.runs.consumer import Consumer
from worker.runs.lanes import Lanes
from worker.runs.table import CodeTable
from worker.runs.topic import TopicReader
from worker.settings import Settings
from worker.topics import TABLE_NAME
from worker.version import VERSION
from worker.watchdog import RECOVERY_TIMEOUT_S, Watchdog
from worker.web.app import create_web
from worker.web.auth import Access
from worker.web.overview import OverviewReader
from worker.web.parts import Publishers, Readers
from worker.web.queries import Reader
from worker.web.server import WebServer
from worker.web.stats import StatsReader


def build(
    settings: Settings,
    partition_count: int,
    web_socket: socket.socket,
    *,
    loop: asyncio.AbstractEventLoop,
    clock: Callable[[], float] = time.time,
    database: Database | None = None,
    handler_type: type[UsageRuns] = UsageRuns,
    recovery_timeout_s: float = RECOVERY_TIMEOUT_S,
) -> WorkerProcess:
    """
    Put a worker together, without connecting to anything.

    Args:
        partition_count: of the usages topic.
        web_socket: bound and listening; the worker's pages are served on it.
        clock: the present in seconds since 1970.
        database: by default that of the settings.
        handler_type: what takes runs through their steps.
        recovery_timeout_s: after which Faust's recovery is taken to have ended in silence, and the process stops.
    """
    app = create_app(settings, partition_count)
    table = cast(
        "CodeTable", app.Table(TABLE_NAME, partitions=partition_count, help="statistics by code, as committed")
    )
    database = database or Database(settings)
    filters = Filters(database, settings.filter_max_bytes // partition_count)
    decoder = Decoder(settings.usages_topic, future_max_s=settings.future_max_s, clock=clock)
    send = _sender(app)
    metrics = Metrics(VERSION, lambda now_s: lanes.progress(now_s))  # noqa: PLW0108 - lanes are made of all this, below
    topic = TopicReader(settings.bootstrap_servers, settings.usages_topic)
    handler = handler_type(
        topic,
        partition_count,
        rejected_topic=settings.rejected_topic,
        decoder=decoder,
        database=database,
        table=table,
        filters=filters,
        send=send,
        metrics=metrics,
    )
    lanes = app.lanes = Lanes(
        handler,
        # Faust makes its consumer when it is first asked for it, which must be on its own loop
        seek=lambda tp, offset: cast("Consumer", app.consumer).seek_run(tp, offset),
        fail=lambda error: process.fail(error),  # noqa: PLW0108 - the process is made of all this, below
        retry_max_s=settings.retry_max_s,
        run_max_records=settings.run_max_records,
    )
    add_agent(app, lanes.submit)
    health = Health(lanes)
    intake = UsageIntake(settings.usages_topic, partition_count, decoder=decoder, send=send)
    announcer = Announcer(
        database,
        url=settings.url,
        version=VERSION,
        topic=settings.usages_topic,
        progress=lanes.progress,
        rate=metrics.rate.per_second,
        fail=lambda error: process.fail(error),  # noqa: PLW0108 - as above
    )
    reader = Reader(database, settings.usages_topic)
    rejections = Rejections(database)
    web_app = create_web(
        Readers(reader, StatsReader(table, reader), OverviewReader(database, partition_count), rejections),
        Publishers(intake, Republisher(rejections, partition_count, send)),
        health=health,
        metrics=metrics,
        access=Access.of(settings),
        version=VERSION,
    )
    web = WebServer(web_app, web_socket)
    watchdog = Watchdog(
        lanes, database, topic, health,
        partition_count=partition_count,
        consumer=lambda: cast("Consumer", app.consumer),
        stall_timeout_s=settings.stall_timeout_s, recovery_timeout_s=recovery_timeout_s,
    )  # fmt: skip
    process = WorkerProcess(
        app,
        database,
        filters,
        topic,
        announcer,
        web,
        watchdog,
        health=health,
        stop_timeout_s=settings.stop_timeout_s,
        loop=loop,
        loglevel="INFO",
    )
    return process


def _sender(app: App) -> Send:
    async def send(message: Message) -> None:
        topic, partition, key, value, headers = message
        try:
            acknowledged = await app.producer.send(
                # a header's value may be null, which Faust's types leave out
                topic,
                key,
                value,
                partition,
                timestamp=None,
                headers=cast("list[tuple[str, bytes]]", headers),
            )
            await acknowledged
        except (NotReady, ProducerSendError, KafkaError) as error:
            raise BrokerUnavailableError(f"the topic {topic!r} does not take messages: {error!r}") from error

    return send
