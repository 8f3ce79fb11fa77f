"""The Faust application: its settings, and the one event that carries a run."""

import socket
from typing import Any, Final

import faust
import structlog
from faust.serializers import codecs
from yarl import URL

from worker.runs.consumer import Transport
from worker.runs.lanes import Lanes
from worker.runs.table import CodeTable
from worker.settings import Settings

RUN_CODEC: Final = "run"
_log: Final = structlog.get_logger("referrals")
_FETCH_MAX_BYTES: Final = 4 * 1024 * 1024  # of one partition; compressed batches unpack to more
# an idle consumer that passes the poll interval hangs for good in aiokafka, even when the cause is gone
_NEVER_S: Final = 10 * 365 * 86_400.0


class _Untouched(codecs.Codec):
    """Hands over a run as it is: its records are decoded by the pipeline."""

    def loads(self, s: Any) -> Any:
        return s

    def dumps(self, obj: Any) -> Any:
        return obj


class App(faust.App):
    """A Faust app whose consumer delivers runs, and which stores what it has taken before it stops."""

    lanes: Lanes
    usages_topic_name: str
    stop_timeout_s: float

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Transport:
        return Transport(self.conf.broker_producer, self)

    async def on_stop(self) -> None:
        """Finish the runs in flight while everything they need is still there."""
        if not await self.lanes.drain(self.stop_timeout_s):
            _log.warning("runs in flight not finished in time: they will be delivered again")
        await super().on_stop()


def create_app(settings: Settings, partition_count: int) -> App:
    """Return the Faust app for a usages topic of `partition_count` partitions; its lanes are set by who builds it."""
    codecs.register(RUN_CODEC, _Untouched())
    app = App(
        settings.app_id,
        broker=[URL(f"kafka://{server}") for server in settings.bootstrap_servers.split(",")],
        store="memory://",
        datadir=settings.data_dir,
        Table=CodeTable,
        autodiscover=False,
        web_enabled=False,
        canonical_url=settings.url,
        # what Kafka's own tools show of this member of the group
        broker_client_id=f"referrals-{socket.gethostname()}-{settings.web_port}",
        topic_partitions=partition_count,
        topic_disable_leader=True,
        # a run in flight is abandoned when its partition is revoked: waiting for it would hang behind a database
        stream_wait_empty=False,
        stream_buffer_maxsize=4 * partition_count,
        broker_max_poll_records=settings.run_max_records,
        broker_max_poll_interval=_NEVER_S,
        broker_commit_interval=1.0,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 4,
        broker_rebalance_timeout=max(settings.session_timeout_s, 10),
        # an offset that is not there is a question for the lane, never a silent jump to another one
        consumer_auto_offset_reset="none",
        consumer_max_fetch_size=_FETCH_MAX_BYTES,
        producer_request_timeout=30.0,
    )
    app.usages_topic_name = settings.usages_topic
    app.stop_timeout_s = settings.stop_timeout_s
    return app
