"""Where a code belongs, and the one warning to a topic whose producers partition in another way."""

from uuid import UUID

from aiokafka.partitioner import DefaultPartitioner
from factories import TOPIC, KafkaRecord
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.pipeline.origin import Origin
from worker.pipeline.reroute import MISROUTED_FEW, Misrouted, partition_of, partition_of_code, partitions_of_codes


@given(st.uuids(), st.integers(1, 10_000))
@example(UUID(int=0), 2**31 - 1)
@example(UUID(int=2**128 - 1), 1)
def test_partition_is_where_a_keyed_producer_puts_a_code(code: UUID, partition_count: int) -> None:
    """A code's partition is the one that aiokafka's own partitioner chooses for its text as key."""
    partitions = range(partition_count)
    expected = DefaultPartitioner()(str(code).encode(), partitions, partitions)
    assert partition_of(str(code), partition_count) == partition_of_code(code.bytes, partition_count) == expected


@given(st.lists(st.uuids(), max_size=20), st.integers(1, 2**31 - 1))
def test_partitions_of_many_codes_are_those_of_each(codes: list[UUID], partition_count: int) -> None:
    """Codes hashed all at once go where each goes by itself, in their order."""
    expected = [partition_of(str(code), partition_count) for code in codes]
    assert partitions_of_codes([code.bytes for code in codes], partition_count) == expected


def copies(count: int) -> list[KafkaRecord]:
    headers = tuple(Origin(TOPIC, 5, 1, None).headers())
    return [KafkaRecord(b"{}", offset, headers=headers) for offset in range(count)]


def test_few_misrouted_records_are_no_warning() -> None:
    """A handful of misrouted records says nothing about the producers."""
    with capture_logs() as logs:
        Misrouted(TOPIC).note(1_000, [], range(MISROUTED_FEW))
    assert logs == []


def test_more_are_warned_of_once() -> None:
    """One warning names how many of how many, and what producers should do; later ones would say the same."""
    misrouted = Misrouted(TOPIC)
    with capture_logs() as logs:
        misrouted.note(500, [], ())
        misrouted.note(100, [], range(8))
        misrouted.note(100, [], range(8))
        misrouted.note(100, [], range(100))
    (warning,) = logs
    assert (warning["topic"], warning["misrouted"], warning["of"]) == (TOPIC, 16, 700)
    assert "key" in warning["event"]
    assert "murmur2_random" in warning["event"]


def test_copies_on_their_way_are_not_misrouted() -> None:
    """A record that a worker sent on says nothing about producers, wherever it arrives."""
    misrouted = Misrouted(TOPIC)
    with capture_logs() as logs:
        misrouted.note(100, copies(100), range(100))
        assert logs == []
        misrouted.note(40, [], range(11))
    assert (logs[0]["misrouted"], logs[0]["of"]) == (11, 40)
