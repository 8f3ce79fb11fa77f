"""The JSON API and the probes over real rows, with SQL as the oracle."""

import base64
import random
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain, product

import psycopg
import pytest
from fix_web import Row, answer_in_time, impatient, new_uuid
from psycopg import sql

from worker.runs.table import HeldCounts
from worker.sql import queries

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODE = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
USER = "1190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1c"
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


def usage(code=CODE, user=USER, date=START, *, first=True):
    return Row(new_uuid(), code, user, date, first)


def random_usages(count, codes, users, seed):
    chosen = random.Random(seed)
    return [
        usage(
            chosen.choice(codes),
            chosen.choice(users),
            # few distinct times, so that many are equal
            START + timedelta(minutes=chosen.randrange(20), microseconds=chosen.choice([0, 1, 999_999])),
            first=chosen.random() < 0.5,
        )
        for _ in range(count)
    ]


def instant(text):
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


async def read_pages(web, path, **params):
    """Return the items of every page, following the cursors to the last one."""
    pages = []
    while True:
        answer = await web.get(path, params=params)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()["items"])
        params["cursor"] = answer.json()["next_cursor"]
        if params["cursor"] is None:
            return pages


def as_rows(items):
    return [
        (item["uuid"], item["code_uuid"], item["used_by_uuid"], instant(item["date_used"]), item["first_use"])
        for item in items
    ]


HISTORY = (
    "select uuid::text, code_uuid::text, used_by_uuid::text, date_used, first_use from referral_usages"
    " where {} order by date_used desc, referral_usages.uuid desc"
)


async def test_stats_equal_sql_for_every_code(web, rows):
    """A code that the table does not hold has the statistics that SQL computes from its rows."""
    codes = [new_uuid() for _ in range(5)]
    rows.store(*random_usages(200, codes, [new_uuid() for _ in range(20)], seed=1))
    for code in codes:
        (expected,) = rows.ask(
            "select count(*), count(distinct used_by_uuid), max(date_used),"
            " (select array_agg(used_by_uuid::text) from (select used_by_uuid from referral_usages"
            " where code_uuid = %s group by used_by_uuid order by max(date_used) desc, used_by_uuid desc limit 5) as u)"
            " from referral_usages where code_uuid = %s",
            code,
            code,
        )
        stats = (await web.get(f"/api/v1/codes/{code}/stats")).json()
        found = (stats["total_uses"], stats["unique_users"], instant(stats["last_used"]), stats["recent_users"])
        assert found == expected
        assert stats["source"] == "database"
        assert stats["code_uuid"] == code


async def test_stats_come_from_the_table_when_it_holds_the_code(web, rows, table):
    """What the worker's own table holds is answered from it, not from PostgreSQL."""
    rows.store(usage())
    table.held[CODE] = HeldCounts(7, 2, START + MICROSECOND, [USER, CODE])
    assert (await web.get(f"/api/v1/codes/{CODE}/stats")).json() == {
        "code_uuid": CODE,
        "total_uses": 7,
        "unique_users": 2,
        "last_used": "2026-03-01T12:00:00.000001Z",
        "recent_users": [USER, CODE],
        "source": "table",
    }


@pytest.mark.parametrize("is_held", [True, False])
async def test_stats_of_a_code_never_used_are_zeros(web, table, is_held):
    """A code without usages has 0, 0, null and an empty list, whoever answers."""
    if is_held:
        table.held[CODE] = HeldCounts(0, 0, None, [])
    answer = await web.get(f"/api/v1/codes/{CODE}/stats")
    assert answer.status_code == 200
    assert answer.json() == {
        "code_uuid": CODE,
        "total_uses": 0,
        "unique_users": 0,
        "last_used": None,
        "recent_users": [],
        "source": "table" if is_held else "database",
    }


async def test_uuids_are_taken_in_any_case_and_answered_in_lower_case(web, rows, table):
    """UUIDs in paths and filters may be in upper case, and the table is asked in lower case."""
    rows.store(usage())
    code, user = CODE.upper(), USER.upper()
    history = (await web.get(f"/api/v1/codes/{code}/usages", params={"used_by": user})).json()
    assert [(item["code_uuid"], item["used_by_uuid"]) for item in history["items"]] == [(CODE, USER)]
    assert (await web.get(f"/api/v1/users/{user}/codes/{code}")).json()["used"] is True
    table.held[CODE] = HeldCounts(3, 1, START, [USER])
    stats = (await web.get(f"/api/v1/codes/{code}/stats")).json()
    assert (stats["code_uuid"], stats["source"]) == (CODE, "table")


async def test_times_are_utc_whatever_the_server_says(web, rows, database):
    """Times end in Z and keep their microseconds, although the database has a time zone of its own."""
    rows.conn.execute(sql.SQL("alter database {} set timezone = 'Asia/Tokyo'").format(sql.Identifier(database)))
    rows.store(usage(date=START + MICROSECOND))
    history = (await web.get(f"/api/v1/codes/{CODE}/usages")).json()
    assert history["items"][0]["date_used"] == "2026-03-01T12:00:00.000001Z"
    used = (await web.get(f"/api/v1/users/{USER}/codes/{CODE}")).json()
    assert used["first_used"] == used["last_used"] == "2026-03-01T12:00:00.000001Z"


@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_code_history_is_whole_over_its_pages(web, rows, limit):
    """The pages of a history hold every usage once, in order, and only the last has no cursor."""
    rows.store(*random_usages(60, [CODE, new_uuid()], [new_uuid() for _ in range(5)], seed=2))
    pages = await read_pages(web, f"/api/v1/codes/{CODE}/usages", limit=limit)
    assert as_rows(chain.from_iterable(pages)) == rows.ask(HISTORY.format("code_uuid = %s"), CODE)
    assert all(len(page) == limit for page in pages[:-1])


async def test_history_page_holds_fifty_unless_told(web, rows):
    """Without a limit a page holds 50 usages."""
    rows.store(*[usage(date=START + index * SECOND) for index in range(51)])
    pages = await read_pages(web, f"/api/v1/codes/{CODE}/usages")
    assert [len(page) for page in pages] == [50, 1]


async def test_history_that_ends_with_a_full_page_has_no_empty_one(web, rows):
    """A page that holds the last usage has no next one."""
    rows.store(*[usage() for _ in range(6)])
    assert [len(page) for page in await read_pages(web, f"/api/v1/codes/{CODE}/usages", limit=3)] == [3, 3]


async def test_history_of_equal_dates_is_ordered_by_uuid(web, rows):
    """Usages of one moment come by uuid descending, over page ends too."""
    rows.store(*[usage() for _ in range(20)])
    pages = await read_pages(web, f"/api/v1/codes/{CODE}/usages", limit=3)
    uuids = [item["uuid"] for page in pages for item in page]
    assert uuids == [uuid for (uuid,) in rows.ask("select uuid::text from referral_usages order by uuid desc")]


async def test_history_is_stable_while_rows_arrive(web, rows):
    """Rows that arrive between pages, before and after the place read, move no other usage."""
    rows.store(*random_usages(60, [CODE], [USER], seed=3))
    expected = rows.ask(HISTORY.format("true"))
    found, cursor = [], None
    while True:
        params = {"limit": "7"} | ({"cursor": cursor} if cursor else {})
        answer = (await web.get(f"/api/v1/codes/{CODE}/usages", params=params)).json()
        found += as_rows(answer["items"])
        # of the same moments as others, and the latest of all
        rows.store(*random_usages(3, [CODE], [USER], seed=len(found)), usage(date=START + timedelta(days=1)))
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    known = {row[0] for row in expected}
    assert [row for row in found if row[0] in known] == expected
    assert len({row[0] for row in found}) == len(found)
    assert found == sorted(found, key=lambda row: (row[3], row[0]), reverse=True)


@pytest.mark.parametrize("path", [f"/api/v1/codes/{CODE}/usages", f"/api/v1/users/{USER}/usages"])
async def test_history_takes_from_inclusive_and_to_exclusive(web, rows, path):
    """`from` keeps the usage of its very microsecond, `to` leaves it out."""
    dates = [START + step * MICROSECOND for step in (-1, 0, 1)] + [
        START + SECOND + step * MICROSECOND for step in (-1, 0)
    ]
    rows.store(*[usage(date=date) for date in dates])
    params = {"from": START.isoformat(), "to": (START + SECOND).isoformat()}
    pages = await read_pages(web, path, limit=2, **params)
    found = [instant(item["date_used"]) for page in pages for item in page]
    assert found == sorted(dates[1:4], reverse=True)
    for only, expected in (("from", dates[1:]), ("to", dates[:4])):
        (page,) = await read_pages(web, path, **{only: params[only]})
        assert [instant(item["date_used"]) for item in page] == sorted(expected, reverse=True)


async def test_history_of_an_empty_span_is_empty(web, rows):
    """`from` equal to `to` holds nothing."""
    rows.store(usage())
    assert await read_pages(
        web, f"/api/v1/codes/{CODE}/usages", **{"from": START.isoformat(), "to": START.isoformat()}
    ) == [[]]


async def test_history_bounds_may_have_any_offset(web, rows):
    """A bound is a moment, whatever offset it is written with."""
    rows.store(usage())
    tokyo = START.astimezone(timezone(timedelta(hours=9)))
    for text in (tokyo.isoformat(), tokyo.strftime("%Y-%m-%d %H:%M%z"), "2026-03-01T12:00Z"):
        assert len((await read_pages(web, f"/api/v1/codes/{CODE}/usages", **{"from": text}))[0]) == 1
        assert len((await read_pages(web, f"/api/v1/codes/{CODE}/usages", to=text))[0]) == 0


async def test_history_cursor_does_not_lead_past_to(web, rows):
    """With a cursor from a wider history, `to` still bounds the page."""
    rows.store(*[usage(date=START + index * SECOND) for index in range(10)])
    first = (await web.get(f"/api/v1/codes/{CODE}/usages", params={"limit": 2})).json()
    params = {"cursor": first["next_cursor"], "to": (START + 4 * SECOND).isoformat()}
    items = (await web.get(f"/api/v1/codes/{CODE}/usages", params=params)).json()["items"]
    assert [instant(item["date_used"]) for item in items] == [START + index * SECOND for index in (3, 2, 1, 0)]


async def test_code_history_of_one_user(web, rows):
    """`used_by` leaves only that user's usages of that code, over all pages."""
    users = [USER, new_uuid()]
    rows.store(*random_usages(80, [CODE, new_uuid()], users, seed=4))
    pages = await read_pages(web, f"/api/v1/codes/{CODE}/usages", used_by=USER, limit=4)
    expected = rows.ask(HISTORY.format("code_uuid = %s and used_by_uuid = %s"), CODE, USER)
    assert as_rows(chain.from_iterable(pages)) == expected


async def test_user_history_is_whole_over_its_pages(web, rows):
    """The pages of a user's history hold that user's usages of every code once, in order."""
    rows.store(*random_usages(80, [new_uuid() for _ in range(9)], [USER, new_uuid()], seed=5))
    pages = await read_pages(web, f"/api/v1/users/{USER}/usages", limit=6)
    assert as_rows(chain.from_iterable(pages)) == rows.ask(HISTORY.format("used_by_uuid = %s"), USER)


async def test_user_code_says_whether_how_often_and_when(web, rows):
    """Whether a user has used a code comes with the count and the first and last date."""
    rows.store(usage(date=START), usage(date=START + SECOND), usage(user=new_uuid()), usage(code=new_uuid()))
    assert (await web.get(f"/api/v1/users/{USER}/codes/{CODE}")).json() == {
        "used": True,
        "uses": 2,
        "first_used": "2026-03-01T12:00:00Z",
        "last_used": "2026-03-01T12:00:01Z",
    }


async def test_user_code_never_used(web, rows):
    """A user who has not used a code is no error."""
    rows.store(usage(user=new_uuid()), usage(code=new_uuid()))
    answer = await web.get(f"/api/v1/users/{USER}/codes/{CODE}")
    assert answer.status_code == 200
    assert answer.json() == {"used": False, "uses": 0, "first_used": None, "last_used": None}


NOT_UUIDS = [
    "x",
    CODE.replace("-", ""),
    f"{{{CODE}}}",
    f"urn:uuid:{CODE}",
    f"{CODE}0",
    f"{CODE[:-1]}g",
    f" {CODE}",
    f"{CODE}\n",
]
NOT_DATES = ["2026-03-01", "1772366400", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z", "today", ""]
NOT_LIMITS = ["0", "1001", "-1", "1.0", "1_0", " 5", "x", "", "99999999999999999999", "٣"]
NOT_CURSORS = [
    "",
    "x",
    "A" * 36,
    "=" * 36,
    "é" * 36,
    base64.urlsafe_b64encode(b"\x7f" * 27).decode(),
    "AAZjegDtrEDcLEB6O5RPBote3vuVlvZJ3EjA",  # the digest is of another place
]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/codes/{}/stats",
        "/api/v1/codes/{}/usages",
        "/api/v1/users/{}/usages",
        f"/api/v1/users/{USER}/codes/{{}}",
    ],
)
async def test_other_spellings_of_uuids_are_refused_in_paths(web, path):
    """Anything but 36 characters with hyphens is a 422 that names the parameter and the form."""
    name = "used_by_uuid" if path.startswith("/api/v1/users/{}") else "code_uuid"
    for value in NOT_UUIDS:
        answer = await web.get(path.format(value.replace("\n", "%0A")))
        assert_problem(answer, 422, name, "path", "36 characters with hyphens")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("from", NOT_DATES, "not an RFC 3339 time"),
        ("to", NOT_DATES, "not an RFC 3339 time"),
        ("from", ["0001-01-01T00:00+14:00", "9999-12-31T23:59:59-00:01"], "years 1 to 9999"),
        ("limit", NOT_LIMITS, "from 1 to 1000"),
        ("cursor", NOT_CURSORS, "next_cursor"),
        ("used_by", NOT_UUIDS, "36 characters"),
        ("form", ["2026-03-01T12:00:00Z"], "no such parameter"),
    ],
)
async def test_parameters_not_of_their_form_are_refused(web, name, values, words):
    """A parameter that is not of its form, or unknown, is a 422 that names it and the remedy."""
    for value in values:
        answer = await web.get(f"/api/v1/codes/{CODE}/usages", params={name: value})
        assert_problem(answer, 422, name, "query", words)


async def test_every_wrong_parameter_is_named(web):
    """One answer names all that is wrong, so that nobody has to try again for each."""
    answer = await web.get(
        "/api/v1/codes/x/usages", params={"limit": "0", "from": "x", "cursor": "{x}", "used_by": "{}"}
    )
    assert {error["parameter"] for error in answer.json()["errors"]} == {
        "code_uuid",
        "limit",
        "from",
        "cursor",
        "used_by",
    }


@pytest.mark.parametrize("text", ["2026-03-01T12:00:00+02:00", "2026-03-01 12:00+0200"])
async def test_plus_that_became_a_space_is_explained(web, text):
    """A `+` that the client did not encode arrives as a space, and the answer says so."""
    answer = await web.get(f"/api/v1/codes/{CODE}/usages?from={text}")
    assert_problem(answer, 422, "from", "query", "%2B")


async def test_swapped_bounds_are_refused(web):
    """`to` before `from` is a mistake, not an empty history."""
    params = {"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}
    assert_problem(await web.get(f"/api/v1/users/{USER}/usages", params=params), 422, "to", "query", "swap")


def assert_problem(answer, status, parameter=None, location=None, words=""):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    if parameter is not None:
        (error,) = problem["errors"]
        assert (error["parameter"], error["in"]) == (parameter, location)
        assert words in error["detail"]


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/v1/nothing", f"/api/v1/codes/{CODE}/stats/", "/api/v2/<b>", "/api/v1/codes/a%2Fb/stats"],
)
async def test_unknown_path_of_the_api_is_a_problem(web, path):
    """A path that the API does not have is a 404 problem."""
    assert_problem(await web.get(path), 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_method_not_allowed_is_a_problem(web, method):
    """Reading takes no other method, and says which it takes."""
    answer = await web.request(method, f"/api/v1/codes/{CODE}/stats")
    assert_problem(answer, 405)
    assert "GET" in answer.headers["allow"]


async def test_head_is_answered_as_get_without_body(web):
    """HEAD has the status and headers of GET, and nothing after them."""
    answer = await web.head(f"/api/v1/codes/{CODE}/stats")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_unexpected_failure_is_a_problem_without_the_servers_words(web, rows):
    """What only a person can mend is a 500 problem that repeats nothing of the database's message."""
    rows.conn.execute("drop table referral_usages")
    answer = await web.get(f"/api/v1/codes/{CODE}/usages")
    assert_problem(answer, 500)
    assert "referral_usages" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@impatient
async def test_server_down_is_503_never_a_zero(web, rows, table, postgres):
    """While PostgreSQL is down, what the table does not hold is 503 with Retry-After; later it is answered again."""
    rows.store(usage())
    rows.conn.close()
    held = new_uuid()
    table.held[held] = HeldCounts(4, 1, START, [USER])
    assert (await answer_in_time(web, f"/api/v1/codes/{CODE}/stats")).status_code == 200
    postgres.kill()
    try:
        for path in (
            f"/api/v1/codes/{CODE}/stats",
            f"/api/v1/codes/{held}/usages",
            f"/api/v1/users/{USER}/usages",
            f"/api/v1/users/{USER}/codes/{CODE}",
        ):
            answer = await web.get(path)
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
        assert (await web.get(f"/api/v1/codes/{held}/stats")).json()["total_uses"] == 4
        assert (await web.get("/livez")).status_code == 200
    finally:
        postgres.start()
    assert (await answer_in_time(web, f"/api/v1/codes/{CODE}/stats")).json()["total_uses"] == 1


@impatient
async def test_slow_statement_is_503(web, rows, database_url):
    """A statement that takes longer than the read timeout is a 503, and does not hold the request any longer."""
    rows.store(usage())
    with psycopg.connect(database_url) as blocker:
        blocker.execute("lock table referral_code_stats in access exclusive mode")
        answer = await web.get(f"/api/v1/codes/{CODE}/stats")
        assert_problem(answer, 503)
        assert "retry-after" in answer.headers
    assert (await answer_in_time(web, f"/api/v1/codes/{CODE}/stats")).json()["total_uses"] == 1


@pytest.mark.parametrize(
    "path", [f"/api/v1/codes/{CODE}/stats", "/api/v1/codes/x/stats", "/api/v1/nothing", "/livez", "/readyz"]
)
async def test_answers_to_programs_are_never_kept(web, path):
    """No cache keeps what the API and the probes answer, errors included, and no browser guesses its type."""
    answer = await web.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_livez_says_why_the_process_should_be_replaced(web, health):
    """/livez is 200 until the worker knows a reason to replace it, which 503 then names."""
    answer = await web.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "reasons": []})
    health.failure = "partition 3 stands still"
    answer = await web.get("/livez")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["partition 3 stands still"])


async def test_readyz_names_every_reason(web, health):
    """/readyz is 200 without reasons, else 503 with all of them."""
    assert (await web.get("/readyz")).status_code == 200
    health.reasons = ["loading referral-usages[3]", "PostgreSQL does not answer"]
    answer = await web.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "reasons": health.reasons})


async def test_openapi_describes_every_call_with_its_problems(web):
    """The OpenAPI document has problems as errors, and an example of every parameter and every answer."""
    document = (await web.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for path, calls in document["paths"].items():
        if path.startswith("/api/"):
            for call, status in product(calls.values(), ("422", "503")):
                assert set(call["responses"][status]["content"]) == {"application/problem+json"}
        for call in calls.values():
            assert all(parameter["schema"]["examples"] for parameter in call.get("parameters", []))
            success = min(call["responses"])
            (answer,) = call["responses"][success]["content"].values()
            name = answer["schema"].get("$ref", "").rpartition("/")[2]
            assert "example" in answer or schemas[name].get("examples"), f"{path} shows no example"
    names = {
        parameter["name"] for parameter in document["paths"]["/api/v1/codes/{code_uuid}/usages"]["get"]["parameters"]
    }
    assert names == {"code_uuid", "from", "to", "used_by", "limit", "cursor"}


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(
    ("name", "index", "is_sorted"),
    [
        ("read_code_usages", "referral_usages_code", False),
        ("read_code_usages_of_user", "referral_usages_user", True),
        ("read_user_usages", "referral_usages_user", True),
        ("read_user_code", "referral_usages_user", False),
    ],
)
async def test_statements_use_their_index(rows, mode, name, index, is_sorted):
    """Each statement over usages goes by its index, and a code's history needs no sort."""
    rows.conn.execute(
        "insert into referral_usages"
        " (uuid, code_uuid, used_by_uuid, date_used, first_use, kafka_partition, kafka_offset)"
        " select gen_random_uuid(), case when n %% 2 = 0 then %s::uuid else gen_random_uuid() end,"
        " gen_random_uuid(), now() - n * interval '1 second', true, 0, n from generate_series(1, 20000) as n",
        [CODE],
    )
    rows.conn.execute("analyze referral_usages")
    rows.conn.execute(sql.SQL("set plan_cache_mode = {}").format(mode))
    params = {
        "code_uuid": CODE,
        "used_by_uuid": USER,
        "start": datetime.min.replace(tzinfo=UTC),
        "before": START,
        "before_uuid": USER,
        "count": 51,
    }
    used = {key: value for key, value in params.items() if f"%({key})s".encode() in queries[name]}
    lines = rows.conn.execute(b"explain " + queries[name], used, prepare=True).fetchall()
    plan = "\n".join(line for (line,) in lines)
    assert index in plan
    assert "Seq Scan" not in plan
    assert ("Sort" in plan) is is_sorted
