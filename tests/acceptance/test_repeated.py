"""Events that arrive again and again, and batches as producers compress them."""

import random
import signal

from fix_faults import NewCase
from fix_worker import System
from publisher import Publisher, identity, make_events, make_load
from waiting import wait_until

from schemas import UsageEvent

IDS = 200
ROUNDS = 10
STATISTICS = "select code_uuid, total_uses, unique_users, last_used, recent_users from referral_code_stats order by 1"
ROWS = "select uuid, code_uuid, used_by_uuid, date_used, first_use from referral_usages order by 1"

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}  # as a batch's attributes number them
_LENGTH_AT = 8  # of what follows it in a batch
_ATTRIBUTES_AT = 21


def repeat(events: list[UsageEvent], seed: int) -> list[UsageEvent]:
    """Return events with the same ids in another order, with other users, dates and, where an id is a UUID, codes."""
    others = make_events(len(events), codes=20, users=100, seed=seed)
    repeated = []
    for event, other in zip(events, others, strict=True):
        changes = {"used_by_uuid": other.used_by_uuid, "date_used": other.date_used}
        if event.event_id.startswith("order"):
            repeated.append(event.model_copy(update=changes))
        else:
            repeated.append(event.model_copy(update={**changes, "code_uuid": other.code_uuid}))
    random.Random(seed).shuffle(repeated)
    return repeated


def test_event_id_repeated_on_all_partitions_and_after_a_restart_counts_once(system: System, new_case: NewCase) -> None:
    """An event id that comes ten times, with other contents, on every partition: the first that is stored stays."""
    case = new_case(system)
    events = make_events(IDS, codes=20, users=100)
    rounds = [repeat(events, seed) for seed in range(ROUNDS)]
    for number, copies in enumerate(rounds[: ROUNDS // 2]):
        system.publisher.publish(copies, partition=number % system.partitions)
    case.strike()
    worker = system.start_worker()
    system.wait_drained()
    system.assert_exact()
    rows, statistics = system.conn.execute(ROWS).fetchall(), system.conn.execute(STATISTICS).fetchall()
    assert len(rows) == len({identity(event) for event in events}) == IDS
    payloads = {(identity(event), event.code_uuid, event.used_by_uuid) for copies in rounds for event in copies}
    assert {(uuid, str(code), str(user)) for uuid, code, user, *_ in rows} <= payloads

    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    case.heal()
    system.start_worker().wait_ready()
    for number, copies in enumerate(rounds[ROUNDS // 2 :]):
        system.publisher.publish(copies, partition=number % system.partitions)
    assert case.conclude().duplicates == IDS * (ROUNDS - 1)
    assert system.conn.execute(ROWS).fetchall() == rows
    assert system.conn.execute(STATISTICS).fetchall() == statistics


def codecs_on_disk(system: System) -> set[int]:
    """Return the codecs of all batches of the topic, as they lie on the broker's disk."""
    found = set()
    for segment in (system.kafka.folder / "data").rglob(f"{system.topic}-[0-9]/*.log"):
        written = segment.read_bytes()
        while len(written) > _ATTRIBUTES_AT:
            found.add(int.from_bytes(written[_ATTRIBUTES_AT : _ATTRIBUTES_AT + 2], "big") & 7)
            written = written[_LENGTH_AT + 4 + int.from_bytes(written[_LENGTH_AT : _LENGTH_AT + 4], "big") :]
    return found


def test_batches_of_every_codec_are_stored(system: System, new_case: NewCase) -> None:
    """Producers may compress as they like, and each in another way: every record counts once."""
    case = new_case(system)
    for seed, codec in enumerate(CODECS):
        publisher = Publisher(system.kafka.bootstrap_servers, system.topic, compression=codec)
        publisher.publish(make_load(600, seed=seed))
        system.publisher.acknowledged |= publisher.acknowledged
        system.publisher.rejected |= publisher.rejected
    wait_until("all is on disk", lambda: codecs_on_disk(system) == set(CODECS.values()))
    case.strike()
    case.heal()
    system.start_worker().wait_ready()
    case.conclude()
