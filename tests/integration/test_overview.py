"""The overview, the workers and the metrics, over real rows; workers are announced by hand."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import psycopg
import pytest
from fix_web import PARTITIONS, Row, announce, answer_in_time, impatient, new_uuid
from html_page import Page

from worker.announce import Announcer
from worker.database import Database
from worker.errors import UrlTakenError
from worker.runs.progress import Progress
from worker.settings import Settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def overview(web):
    answer = await web.get("/api/v1/overview")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_overview_is_what_sql_says(web, rows):
    """Totals, most used codes and latest usages are those of the rows."""
    codes = [new_uuid() for _ in range(20)]
    rows.store(
        *[
            Row(new_uuid(), code, new_uuid(), START + timedelta(hours=number, seconds=index), True)
            for number, code in enumerate(codes)
            for index in range(1 + number * 7 % 20)
        ]
    )
    said = await overview(web)
    ((uses, count, first_uses),) = rows.ask(
        "select count(*), count(distinct code_uuid), count(distinct (code_uuid, used_by_uuid)) from referral_usages"
    )
    assert (said["total_uses"], said["codes"], said["first_uses"], said["rejected"]) == (uses, count, first_uses, 0)
    top = rows.ask("select code_uuid::text, count(*) from referral_usages group by 1 order by 2 desc, 1 limit 8")
    assert [(code["code_uuid"], code["total_uses"]) for code in said["top_codes"]] == top
    latest = rows.ask("select uuid::text from referral_usages order by date_used desc, uuid desc limit 8")
    assert [(usage["uuid"],) for usage in said["recent_usages"]] == latest


async def test_freshness_is_known_when_every_partition_is_live(web, rows):
    """Lag is the sum over all partitions, and what is stored up to the earliest of them."""
    announce(rows, "http://a", (0, 0, START), (1, 5, START - timedelta(minutes=1)))
    announce(rows, "http://b", (2, 0, START), (3, 2, START))
    said = await overview(web)
    assert (said["lag"], said["partitions"], said["workers"]) == (7, {"total": PARTITIONS, "live": 4}, 2)
    assert said["stored_up_to"] == "2026-03-01T11:59:00Z"
    text = Page((await web.get("/")).text).text
    assert "Catching up. Stored up to 2026-03-01 11:59:00 UTC , 7 waiting, 4 of 4 partitions live, 2 workers" in text


@pytest.mark.parametrize(
    ("third", "age_s"),
    [(((2, None, None), (3, 0, START)), 0), (((3, 0, START),), 0), (((2, 0, START), (3, 0, START)), 11)],
    ids=["lag not known", "read by nobody", "worker gone"],
)
async def test_freshness_is_null_unless_every_partition_is_live(web, rows, third, age_s):
    """A partition without a worker that knows its lag makes lag and freshness null, not zero."""
    announce(rows, "http://a", (0, 0, START), (1, 0, START))
    announce(rows, "http://b", *third, age_s=age_s)
    said = await overview(web)
    assert (said["lag"], said["stored_up_to"]) == (None, None)
    assert said["partitions"]["live"] < PARTITIONS
    assert "How much waits is not known now" in (await web.get("/")).text


async def test_workers_are_those_seen_of_late(web, rows):
    """A worker that has not been seen for ten seconds is gone; the others say what they read."""
    announce(rows, "http://a", (0, 3, START), (2, None, None))
    announce(rows, "http://gone", (1, 0, START), age_s=11)
    (worker,) = (await web.get("/api/v1/workers")).json()["items"]
    assert worker.pop("seen_at") > "2026"
    assert worker == {
        "url": "http://a",
        "version": "1.2.3",
        "started_at": "2026-03-01T12:00:00Z",
        "rate": 12.5,
        "partitions": [
            {"partition": 0, "position": 100, "lag": 3},
            {"partition": 2, "position": 100, "lag": None},
        ],
    }


@impatient
async def test_overview_of_a_slow_database_is_no_older_answer(web, database_url):
    """Without PostgreSQL the overview is 503, although an answer was given before."""
    assert (await answer_in_time(web, "/api/v1/overview")).status_code == 200
    await asyncio.sleep(2.1)  # for so long an answer is given, by its contract
    with psycopg.connect(database_url) as blocker:
        blocker.execute("lock table referral_code_stats in access exclusive mode")
        answers = await asyncio.gather(*(web.get(path) for path in ["/api/v1/overview", "/api/v1/workers", "/"]))
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert all("retry-after" in answer.headers for answer in answers)


async def test_metrics_are_those_of_the_worker(web):
    """The metrics are text for Prometheus; a lag that is not known is absent."""
    answer = await web.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'referrals_position{partition="0"} 41.0' in answer.text
    assert 'referrals_lag{partition="0"} 1.0' in answer.text
    assert 'referrals_lag{partition="3"}' not in answer.text


@pytest.fixture
async def new_announcer(database_url):
    """Make announcers of worker http://a whose progress is the test's; `failed` of each says what ended it."""
    database = Database(Settings(database_url=database_url))
    started = []

    async def start(*progress):
        failed = []
        announcer = Announcer(
            database,
            url="http://a",
            version="1.2.3",
            topic="usages",
            progress=lambda _now_s: list(progress),
            rate=lambda: 2.5,
            fail=failed.append,
        )
        await announcer.start()
        started.append(announcer)
        return SimpleNamespace(stop=announcer.stop, failed=failed)

    async with database:
        yield start
        for announcer in started:
            await announcer.stop()


async def until(rows, condition, what, deadline_s=30):
    async with asyncio.timeout(deadline_s):
        while not condition(found := rows.ask("select instance, partitions, started_at from referral_workers")):  # noqa: ASYNC110 - a table tells nobody
            await asyncio.sleep(0.05)
    assert found is not None, what
    return found


async def test_announcement_says_up_to_when_everything_is_stored(rows, new_announcer):
    """Where nothing waits it is the moment of the broker's answer, else the last record's time; unknown stays null."""
    rows.conn.execute(
        "insert into referral_positions (topic, partition, partition_count, next_offset, last_timestamp)"
        " select 'usages', n, 4, 9, 1700000000000 from generate_series(0, 2) n"
    )
    await new_announcer(
        Progress(0, 9, 0, 1.0), Progress(1, 9, 4, 0.5), Progress(2, 9, None, None), Progress(3, 0, 4, 0.5)
    )
    ((_, partitions, _),) = await until(rows, bool, "the worker is announced")
    ages = rows.ask(
        "select extract(epoch from seen_at - (partitions->0->>'stored_up_to')::timestamptz)::float8"
        " from referral_workers"
    )
    assert ages == [(1.0,)]
    assert [each["lag"] for each in partitions] == [0, 4, None, 4]
    assert datetime.fromisoformat(partitions[1]["stored_up_to"]).timestamp() == 1_700_000_000
    assert [each["stored_up_to"] for each in partitions[2:]] == [None, None]


async def test_stop_withdraws_the_announcement(rows, new_announcer):
    """A worker that stops in order is gone at once."""
    announcer = await new_announcer()
    await until(rows, bool, "the worker is announced")
    await announcer.stop()
    assert rows.ask("select from referral_workers") == []


async def test_second_worker_under_a_url_ends_and_the_first_goes_on(rows, new_announcer):
    """The second finds the first alive and fails; the row stays the first one's all along."""
    first = await new_announcer()
    ((instance, _, _),) = await until(rows, bool, "the first is announced")
    second = await new_announcer()
    await until(rows, lambda _found: second.failed, "the second fails")
    assert isinstance(second.failed[0], UrlTakenError)
    assert "REFERRALS_WEB_URL" in str(second.failed[0])
    assert [row[0] for row in rows.ask("select instance from referral_workers")] == [instance]
    await second.stop()
    assert [row[0] for row in rows.ask("select instance from referral_workers")] == [instance]
    assert first.failed == []


async def test_row_of_a_killed_worker_is_taken_over(rows, new_announcer):
    """A fresh row whose worker lives no more delays nobody: it is taken over once it is stale."""
    announce(rows, "http://a", (0, 0, START))
    ((killed, _, _),) = rows.ask("select instance, 0, 0 from referral_workers")
    restarted = await new_announcer()
    ((_, _, started_at),) = await until(rows, lambda found: found[0][0] != killed, "the row is taken over")
    assert started_at > START
    assert restarted.failed == []
