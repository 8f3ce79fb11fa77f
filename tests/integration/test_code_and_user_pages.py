"""The pages of a code and of a user over real rows: charts, filters, files, and what a refresh costs."""

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import psycopg
import pytest
from fix_web import Row, new_uuid
from html_page import Page

from worker.runs.table import HeldCounts

CODE = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
USER = "1190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1c"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PER_PAGE = 50
DEADLINE_S = 30


def usage(code=CODE, user=USER, date=START, *, first=False):
    return Row(new_uuid(), code, user, date, first)


async def read_page(web, path, **params):
    answer = await web.get(path, params=params or None)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def links(page):
    return [attributes["href"] for attributes in page.all("a")]


def bars(page):
    """Return (start, uses, first uses) of each bar, as the table under the chart has them."""
    (table,) = [table for table in page.tables if table[0][1:] == ["Uses", "First uses"]]
    return [(start, *(int(number.replace(",", "")) for number in numbers)) for start, *numbers in table[1:]]


@pytest.mark.parametrize(
    ("period", "count"), [("24h", 24), ("7d", 168), ("30d", 30), ("90d", 90)], ids=["24h", "7d", "30d", "90d"]
)
async def test_chart_shows_the_uses_of_a_period_as_sql_counts_them(web, rows, period, count):
    """A code's chart has a bar for each hour or day of the period, up to now, with the uses that SQL counts in it."""
    now = datetime.now(UTC)
    rows.store(*[usage(date=now - timedelta(hours=7 * n), first=n % 3 == 0) for n in range(300)])
    found = bars(await read_page(web, f"/codes/{CODE}", period=period))
    assert len(found) == count
    unit, form = ("hour", "YYYY-MM-DD HH24:MI") if count in {24, 168} else ("day", "YYYY-MM-DD")
    counted = rows.ask(
        "select to_char(date_trunc(%s, date_used, 'UTC') at time zone 'UTC', %s), count(*),"
        " count(*) filter (where first_use) from referral_usages group by 1 order by 1",
        unit,
        form,
    )
    assert [bar for bar in found if bar[1]] == [row for row in counted if row[0] >= found[0][0]]


async def test_overview_chart_counts_all_codes(web, rows):
    """The overview's chart has the uses of all codes of the last 7 days by hour, and of 30 days by day."""
    now = datetime.now(UTC)
    rows.store(*[usage(new_uuid(), date=now - timedelta(hours=5 * n), first=True) for n in range(100)])
    ((within_week,),) = rows.ask(
        "select count(*) from referral_usages where date_used >= date_trunc('hour', now()) + interval '1 hour - 7 days'"
    )
    week = bars(await read_page(web, "/"))
    month = bars(await read_page(web, "/", period="30d"))
    assert (len(week), sum(uses for _start, uses, _first in week)) == (168, within_week)
    assert (len(month), sum(uses for _start, uses, _first in month)) == (30, 100)
    assert all(uses == first for _start, uses, first in week)


async def test_timeline_of_all_codes_is_what_sql_counts(web, rows):
    """The API's timeline of all codes has every hour between its bounds, those of its bounds whole."""
    rows.store(*[usage(new_uuid(), date=START + timedelta(minutes=25 * n), first=n % 2 == 0) for n in range(40)])
    bounds = {"from": "2026-03-01T12:30:00Z", "to": "2026-03-02T12:30:00Z"}
    answer = await web.get("/api/v1/overview/timeline", params={"bucket": "hour", **bounds})
    assert answer.status_code == 200, answer.text
    found = [(item["start"], item["uses"], item["first_uses"]) for item in answer.json()["items"]]
    counted = rows.ask(
        "select to_char(start at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), count(uuid),"
        " count(*) filter (where first_use)"
        " from generate_series('2026-03-01T12:00Z'::timestamptz, '2026-03-02T12:00Z', '1 hour') as start"
        " left join referral_usages on date_used >= start and date_used < start + interval '1 hour'"
        " group by start order by start"
    )
    assert found == counted
    days = (await web.get("/api/v1/overview/timeline", params=bounds)).json()["items"]
    assert [item["uses"] for item in days] == [29, 11]


async def test_days_and_user_filter_history_and_files_alike(web, rows):
    """Whole days and a user pick the same usages on the pages of the history and in the files that they link to."""
    other = new_uuid()
    rows.store(*[usage(user=(USER, other)[n % 2], date=START + timedelta(hours=n)) for n in range(24 * 8)])
    days = {"first_day": "2026-03-02", "last_day": "2026-03-06"}
    wanted = rows.ask(
        "select uuid::text from referral_usages where used_by_uuid = %s"
        " and date_used >= '2026-03-02T00:00Z' and date_used < '2026-03-07T00:00Z' order by date_used desc",
        USER,
    )
    path, shown = f"/codes/{CODE}?{urlencode({**days, 'used_by': f' {USER.upper()} '})}", []
    while path is not None:
        page = await read_page(web, path)
        shown += [word for word in page.text.partition("Time User Use")[2].split() if word == USER]
        path = page.link("next")
    assert len(shown) == len(wanted) > PER_PAGE
    (file,) = [link for link in links(page) if ".csv" in link]
    found = list(csv.DictReader(io.StringIO((await web.get(file)).text)))
    assert [row["uuid"] for row in found] == [uuid for (uuid,) in wanted]
    (file,) = [link for link in links(page) if ".json" in link]
    assert [row["uuid"] for row in (await web.get(file)).json()] == [uuid for (uuid,) in wanted]


async def test_page_has_a_way_back_to_the_first_and_keeps_the_filters(web, rows):
    """Paging keeps what is filtered, and leads back to the latest usages of the same filter."""
    rows.store(*[usage(date=START + timedelta(minutes=n)) for n in range(60)])
    first = await read_page(web, f"/codes/{CODE}", first_day="2026-03-01", period="30d")
    second = await read_page(web, first.link("next"))
    assert "first_day=2026-03-01" in first.link("next")
    assert second.link("first") == f"/codes/{CODE}?first_day=2026-03-01&period=30d#usages"
    assert "No earlier usages" in second.text


@pytest.mark.parametrize(
    ("uses", "said"), [(0, "No, this user has never used"), (1, "used this code once"), (3, "3 times")]
)
async def test_code_page_answers_whether_a_user_has_used_it(web, rows, uses, said):
    """Filtered by a user, a code's page says whether the user has used it, how often, when first and when last."""
    rows.store(usage(user=new_uuid()), *[usage(date=START + timedelta(days=n)) for n in range(uses)])
    page = await read_page(web, f"/codes/{CODE}", used_by=USER)
    assert said in page.text
    assert ("first at 2026-03-01 12:00:00 UTC , last at 2026-03-03 12:00:00 UTC" in page.text) == (uses == 3)
    assert f"/users/{USER}" in links(page)


async def test_user_page_shows_each_code_and_the_history(web, rows):
    """A user's page has each code with uses, first and last use, the one used last first, and every usage in pages."""
    codes = [new_uuid() for _ in range(25)]
    rows.store(
        *[usage(code, date=START + timedelta(hours=n, days=day)) for n, code in enumerate(codes) for day in range(3)],
        usage(user=new_uuid()),
    )
    page = await read_page(web, f"/users/{USER.upper()}")
    listed = rows.ask(
        "select code_uuid::text, count(*), to_char(min(date_used), 'YYYY-MM-DD HH24:MI:SS \"UTC\"'),"
        " to_char(max(date_used), 'YYYY-MM-DD HH24:MI:SS \"UTC\"')"
        " from referral_usages where used_by_uuid = %s group by 1 order by max(date_used) desc limit 20",
        USER,
    )
    assert " ".join(" ".join(map(str, row)) for row in listed) in page.text
    more = await read_page(web, page.link("next"))
    assert all(code in more.text for code in codes[:5])

    path, shown = f"/users/{USER}", []
    while path is not None:
        page = await read_page(web, path)
        shown += [word for word in page.text.partition("Time Code Use")[2].split() if word in codes]
        path = next((link for link in links(page) if "cursor=" in link and "codes_cursor" not in link), None)
    stored = rows.ask(
        "select code_uuid::text from referral_usages where used_by_uuid = %s order by date_used desc, uuid desc", USER
    )
    assert shown == [code for (code,) in stored]


async def test_user_page_of_a_user_without_usages_says_so(web):
    """A valid user of whom nothing is stored has a page that says so, and no table."""
    page = await read_page(web, f"/users/{USER}")
    assert "This user has not used any code yet" in page.text
    assert page.all("table") == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("first_day=2026-02-30", "not a day such as 2026-01-31"),
        ("last_day=1700000000", "not a day such as 2026-01-31"),
        ("last_day=9999-12-31", "not a day such as 2026-01-31"),
        ("first_day=2026-03-02&last_day=2026-03-01", "before the first day"),
        ("used_by=SUMMER", "not a UUID"),
        ("period=7w", "period"),
        ("used_bye=x", "no such parameter"),
    ],
)
async def test_wrong_filters_are_told(web, query, said):
    """A filter that is not of its form is refused with what it should be, never ignored."""
    answer = await web.get(f"/codes/{CODE}?{query}")
    assert answer.status_code == 422
    assert said in Page(answer.text).text


@pytest.mark.parametrize(
    "query",
    ["first_day=0001-01-01", "last_day=0001-01-01", "first_day=9999-12-30", "first_day=0001-01-01&last_day=9999-12-30"],
)
async def test_days_at_the_ends_of_the_calendar_have_a_chart(web, rows, query):
    """Any days that a calendar has can be asked for, and no chart has more than 200 bars."""
    rows.store(usage())
    page = await read_page(web, f"/codes/{CODE}?{query}")
    assert 0 < len([attributes for attributes in page.all("rect") if attributes.get("class") == "slot"]) <= 200


@pytest.mark.parametrize("path", ["/", f"/codes/{CODE}", f"/codes/{CODE}?period=30d", f"/users/{USER}"])
async def test_page_is_sent_again_only_when_something_changed(web, rows, path):
    """Who has a page is answered 304 without a body until a usage is stored that the page shows."""
    rows.store(usage(date=datetime.now(UTC)))
    first = await web.get(path)
    asked = {"If-None-Match": f'"x", {first.headers["etag"]}'}
    again = await web.get(path, headers=asked)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "content-type" not in again.headers
    assert again.headers["cache-control"] == "no-cache"
    rows.store(usage(date=datetime.now(UTC)))
    async with asyncio.timeout(DEADLINE_S):
        while (changed := await web.get(path, headers=asked)).status_code == 304:  # noqa: ASYNC110 - nothing tells a browser either
            await asyncio.sleep(0.1)  # an answer about all codes is shared for a second
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_unchanged_code_page_asks_the_database_nothing_while_the_table_holds_it(web, rows, table, database_url):
    """A refresh of a code's page whose statistics are unchanged is answered even while PostgreSQL does not answer."""
    rows.store(usage())
    table.held[CODE] = HeldCounts(1, 1, START, [USER])
    first = await web.get(f"/codes/{CODE}")
    with psycopg.connect(database_url) as blocker:
        blocker.execute("lock table referral_code_stats, referral_usages in access exclusive mode")
        again = await web.get(f"/codes/{CODE}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    table.held[CODE] = HeldCounts(2, 1, START, [USER])
    assert (await web.get(f"/codes/{CODE}", headers={"If-None-Match": first.headers["etag"]})).status_code == 200


async def test_errors_have_no_tag(web):
    """An error page is never taken for what a browser has."""
    assert "etag" not in (await web.get("/nothing")).headers
    assert (await web.get("/nothing", headers={"If-None-Match": "*"})).status_code == 404
