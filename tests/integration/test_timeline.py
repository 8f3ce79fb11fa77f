"""Timelines over real rows, with SQL as the oracle."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from fix_web import Row, new_uuid

from worker.sql import queries

CODE = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
PATH = f"/api/v1/codes/{CODE}/timeline"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def usage(date, *, code=CODE, first=True):
    return Row(new_uuid(), code, new_uuid(), date, first)


async def read(web, **params):
    """Return (start, uses, first_uses) of each bucket."""
    answer = await web.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    return [
        (datetime.fromisoformat(item["start"]), item["uses"], item["first_uses"]) for item in answer.json()["items"]
    ]


@pytest.mark.parametrize(("bucket", "width"), [("hour", HOUR), ("day", DAY)])
async def test_timeline_counts_as_sql_does(web, rows, bucket, width):
    """Each bucket holds what SQL counts in it, those without usages and other codes' usages left out of none."""
    chosen = random.Random(7)
    rows.store(
        *[
            usage(
                START + chosen.randrange(400) * HOUR + chosen.choice([-1, 0, 1]) * MICROSECOND,
                code=chosen.choice([CODE, new_uuid()]),
                first=chosen.random() < 0.5,
            )
            for _ in range(300)
        ]
    )
    since, until = START + timedelta(minutes=90), START + 390 * HOUR
    found = await read(web, bucket=bucket, **{"from": since.isoformat(), "to": until.isoformat()})
    counted = rows.ask(
        "select date_trunc(%s, date_used), count(*), count(*) filter (where first_use) from referral_usages"
        " where code_uuid = %s and date_used >= %s and date_used < %s group by 1 order by 1",
        bucket,
        CODE,
        since,
        until,
    )
    assert [item for item in found if item[1]] == counted
    starts = [start for start, _uses, _first_uses in found]
    assert starts == [starts[0] + place * width for place in range(len(starts))]
    assert starts[0] <= since < starts[0] + width
    assert starts[-1] < until <= starts[-1] + width


async def test_timeline_bounds_cut_through_buckets(web, rows):
    """`from` counts the usage of its very microsecond, `to` does not, and buckets still begin when hours do."""
    since, until = START + timedelta(minutes=20), START + HOUR + timedelta(minutes=40)
    rows.store(*[usage(date + step * MICROSECOND) for date in (since, until) for step in (-1, 0)])
    assert await read(web, bucket="hour", **{"from": since.isoformat(), "to": until.isoformat()}) == [
        (START, 1, 1),
        (START + HOUR, 1, 1),
    ]


async def test_timeline_ends_now_unless_told(web, rows):
    """Without bounds the last 30 days are shown by day, or the last 24 hours by hour."""
    now = datetime.now(UTC)
    rows.store(*[usage(now - age) for age in (HOUR, 23 * HOUR, 25 * HOUR, 29 * DAY, 31 * DAY)])
    by_day, by_hour = await read(web), await read(web, bucket="hour")
    assert (len(by_day), sum(uses for _start, uses, _first in by_day)) == (31, 4)
    # one more when an hour has just begun between the two
    assert len(by_hour) == 25
    assert sum(uses for _start, uses, _first in by_hour) == 2


async def test_timeline_of_a_code_never_used_is_zeros(web):
    """A code without usages has its buckets all the same."""
    assert await read(web, **{"from": START.isoformat(), "to": (START + DAY).isoformat()}) == [
        (START - 12 * HOUR, 0, 0),
        (START + 12 * HOUR, 0, 0),
    ]


@pytest.mark.parametrize(
    "params",
    [
        {"from": "0001-01-01T00:00:00Z", "to": "0001-01-02T00:00:00Z"},
        {"to": "0001-01-01T00:00:00Z"},
        {"from": "9999-12-31T00:00:00Z", "to": "9999-12-31T23:59:59.999999Z", "bucket": "hour"},
    ],
)
async def test_timeline_reaches_the_ends_of_the_calendar(web, params):
    """The first and the last day of the calendar have buckets too."""
    assert all(not uses for _start, uses, _first in await read(web, **params))


@pytest.mark.parametrize(
    ("bucket", "since", "count", "words"),
    [("hour", START, "2,001", "buckets of a day"), ("day", START - 12 * HOUR, "2,001", "later `from`")],
)
async def test_timeline_of_too_many_buckets_is_refused(web, bucket, since, count, words):
    """2,000 buckets are answered; one more is a 422 that says how many there would be, and what to change."""
    width = HOUR if bucket == "hour" else DAY
    until = since + 2000 * width
    assert len(await read(web, bucket=bucket, **{"from": since.isoformat(), "to": until.isoformat()})) == 2000
    params = {"bucket": bucket, "from": since.isoformat(), "to": (until + MICROSECOND).isoformat()}
    answer = await web.get(PATH, params=params)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["parameter"] == "bucket"
    assert count in error["detail"]
    assert words in error["detail"]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("bucket", {"bucket": "week"}),
        ("to", {"from": "9000-01-01T00:00:00Z"}),
        ("to", {"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}),
        ("limit", {"limit": "5"}),
    ],
)
async def test_timeline_names_a_wrong_parameter(web, name, params):
    """A parameter that is unknown, not of its form, or contradicts another is a 422 that names it."""
    answer = await web.get(PATH, params=params)
    assert answer.status_code == 422
    assert [error["parameter"] for error in answer.json()["errors"]] == [name]


async def test_timeline_goes_by_the_codes_index(rows):
    """A timeline reads the usages of its span by the code's index, however large its share of the table is."""
    rows.fill(20_000, CODE, new_uuid(), START)
    rows.conn.execute("analyze referral_usages")
    rows.conn.execute("set plan_cache_mode = force_custom_plan")
    params = {"code_uuid": CODE, "first_bucket": START, "start": START, "to": START + 10 * HOUR, "width": HOUR}
    lines = rows.conn.execute(b"explain " + queries["read_code_timeline"], params).fetchall()
    plan = "\n".join(line for (line,) in lines)
    assert "referral_usages_code" in plan
    assert "Seq Scan" not in plan
