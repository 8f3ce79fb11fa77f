"""
What worker/runs relies on inside Faust, mode and aiokafka.

A changed fingerprint means: read the new source, decide whether our override still does what it says, then renew it.
"""

import hashlib
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import aiokafka
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher, subscription_state
from aiokafka.record.default_records import _DefaultRecordBatchPy as Batch
from faust import App, Table, Worker
from faust.contrib.asgi import AsgiService
from faust.stores import memory
from faust.tables.base import Collection
from faust.tables.recovery import Recovery
from faust.transport import consumer
from faust.transport.drivers import aiokafka as driver
from mode import worker as mode_worker

PINNED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}

# what we replace, and what calls it or is called by our replacement
FINGERPRINTS: dict[Callable[..., Any], str] = {
    consumer.Consumer._drain_messages: "44a2500309e8",
    consumer.Consumer.perform_seek: "0e8c130ff4b0",
    consumer.Consumer._wait_next_records: "6218e1969a63",
    consumer.Consumer.on_partitions_revoked: "d04b7ae72c6f",
    consumer.Consumer.ack: "5fcf41cf4515",
    consumer.Consumer.commit: "a354437baaa0",
    consumer.Consumer.force_commit: "cc094614d22c",
    consumer.Consumer._commit_tps: "a20e230b05ae",
    consumer.Consumer._filter_committable_offsets: "dc5e9baf5d99",
    consumer.Consumer._filter_tps_with_pending_acks: "f6f923977423",
    consumer.Consumer._new_offset: "1d2c7ea89a7a",
    consumer.Consumer._should_commit: "5ce941793947",
    consumer.Consumer._commit_offsets: "1a6979904118",
    consumer.Consumer.on_stop: "45b1d2210ce2",
    consumer.Consumer.verify_all_partitions_active: "4e0e46f5c297",
    consumer.ThreadDelegateConsumer._getmany: "f9d47aa9010b",
    driver.Consumer._new_consumer_thread: "0870ec53dea7",
    driver.Consumer._to_message: "7c24f6511b2f",
    driver.AIOKafkaConsumerThread._create_worker_consumer: "c2701bfc3e6f",
    driver.AIOKafkaConsumerThread._commit: "932852ce7a23",
    driver.AIOKafkaConsumerThread._fetch_records: "39a2c6c79fc1",
    driver.AIOKafkaConsumerThread.getmany: "26fc5fc9f3b6",
    driver.AIOKafkaConsumerThread._seek_wait: "9d221e816d94",
    driver.Producer._settings_extra: "a4c7bc41b638",
    driver.Producer._new_producer: "e72355c3430e",
    driver.Producer.send: "0b5bd08f52e5",
    driver.Producer.flush: "36d0cb3615f6",
    subscription_state.Assignment.state_value: "183fea82ef48",
    subscription_state.TopicPartitionState.__init__: "f0b391da1b87",
    subscription_state.TopicPartitionState.consumed_to: "c7b8f0f99ce9",
    fetcher.Fetcher._proc_fetch_request: "59bf948fff47",
    fetcher.Fetcher.fetched_records: "be4348896b9b",
    fetcher.Fetcher._update_fetch_positions: "d7774d8241dc",
    fetcher.Fetcher._create_fetch_waiter: "61d840568746",
    fetcher.FetchResult.check_assignment: "b5340df67e3f",
    fetcher.FetchResult.getall: "3e717e30de50",
    fetcher.FetchResult._update_position: "83fb1473bf10",
    fetcher.PartitionRecords.__init__: "8ec1c2ae6ea1",
    fetcher.PartitionRecords._unpack_records: "b803e6d46480",
    Batch._read_msg: "0997ab7a5850",
    Batch._maybe_uncompress: "c9d0dc2bed50",
    AIOKafkaClient.send: "246b277687d7",
    AIOKafkaClient.force_metadata_update: "cb7befef21c8",
    aiokafka.AIOKafkaConsumer.start: "2f1ba7044332",
    App._new_transport: "42db531312dd",
    App._new_producer_transport: "eb3b4aa6a896",
    App._on_partitions_revoked: "d5c895bbe57d",
    App._on_partitions_assigned: "de932b7927db",
    App.on_stop: "bfe5a933defb",
    App.Table: "e49f205922bb",
    Recovery.on_recovery_completed: "6ef567acf072",
    Recovery._wait: "ec7429b70176",
    Collection._new_store: "914a2bda605d",
    Table.on_key_set: "a370e35ca55c",
    Table.on_key_del: "4f2900b2f9d2",
    memory.Store.__post_init__: "e59c82f37854",
    memory.Store.on_recovery_completed: "a00bef343e13",
    AsgiService._create_server: "3586ffb5522f",
    AsgiService.on_start: "4046d298ab85",
    AsgiService.on_stop: "8c9c8690d9a9",
    Worker.on_init_dependencies: "86cc2f614ca6",
    Worker._on_sigterm: "ba99cf23ea87",
    mode_worker.Worker._schedule_shutdown: "1a6a5dfc88c2",
    mode_worker.Worker.execute_from_commandline: "212e98f635d7",
    mode_worker.Worker.stop_and_shutdown: "bf1608cc3011",
}


def test_versions_are_those_that_were_read() -> None:
    """The packages that are overridden are pinned, and installed, at the versions whose source was read."""
    assert {name: version(name) for name in PINNED} == PINNED


@pytest.mark.parametrize(
    ("function", "fingerprint"),
    FINGERPRINTS.items(),
    ids=[f"{function.__module__}.{function.__qualname__}" for function in FINGERPRINTS],
)
def test_source_is_the_one_that_was_read(function: Callable[..., Any], fingerprint: str) -> None:
    """A function that is replaced or relied on has the source that it had when the override was written."""
    assert hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12] == fingerprint


def test_settings_are_what_the_fetcher_is_made_with() -> None:
    """Aiokafka takes the isolation level when it starts, so setting it on a consumer just made takes effect."""
    source = inspect.getsource(aiokafka.AIOKafkaConsumer.start)
    assert "isolation_level=self._isolation_level" in source
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in source
