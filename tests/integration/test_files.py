"""Histories as files: whole, the same in both forms, in constant memory, and never cut short in silence."""

import asyncio
import csv
import io
import tracemalloc
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from fix_web import impatient, new_database, new_uuid
from waiting import wait_until

from worker.web.histories import user_history
from worker.web.params import SpanQuery
from worker.web.queries import Reader
from worker.web.server import WebServer, bind

CODE = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
USER = "1190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1c"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODE_PATH = f"/api/v1/codes/{CODE}/usages"
USER_PATH = f"/api/v1/users/{USER}/usages"
MANY = 200_000
MEMORY_MAX_BYTES = 16 * 1024 * 1024  # a page is 1 MB as objects; the whole file is 30 MB, and far more as objects
HISTORY = "select uuid::text from referral_usages where {} order by date_used desc, referral_usages.uuid desc"

SESSIONS = (
    "select count(*) from pg_stat_activity where datname = current_database()"
    " and application_name like 'referrals-reader%%'"
)
AT_WORK = f"{SESSIONS} and (state <> 'idle' or xact_start is not null)"
ROWS_READ = "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'referral_usages'"


class SlowClient:
    """Asks for a file without a server in between, and takes it part by part when told."""

    def __init__(self, app, path):
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "server": ("worker", 80),
            "client": ("client", 1),
        }
        self._parts = asyncio.Queue(1)
        self.status = None

    async def __aenter__(self):
        self._request = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        return self

    async def __aexit__(self, *_exc_info):
        self._request.cancel()
        await asyncio.wait([self._request])

    async def _receive(self):
        await asyncio.Event().wait()

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            await self._parts.put(message)

    async def take(self):
        """Return the next part; None after the last."""
        part = asyncio.ensure_future(self._parts.get())
        await asyncio.wait([part, self._request], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if not part.done():
            part.cancel()
            raise AssertionError("no part came") from self._request.exception() if self._request.done() else None
        message = part.result()
        return message["body"] if message["more_body"] else None


async def read_on(parts):
    """Read until the end."""
    async for _part in parts:
        pass


@pytest.mark.parametrize("path", [CODE_PATH, USER_PATH])
@pytest.mark.parametrize("count", [0, 1, 4000, 4001])
async def test_files_hold_the_whole_history(web, rows, path, count):
    """Both forms hold every usage once, in order, with the fields that pages have, over the ends of inner pages too."""
    if count:
        rows.fill(count, CODE, USER, START)
        rows.fill(10, new_uuid(), new_uuid(), START)
    as_json = (await web.get(f"{path}.json")).json()
    text = (await web.get(f"{path}.csv")).content.decode("utf-8")
    as_csv = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [{**item, "first_use": str(item["first_use"]).lower()} for item in as_json] == as_csv
    where = "code_uuid = %s" if path == CODE_PATH else "used_by_uuid = %s"
    found = rows.ask(HISTORY.format(where), CODE if path == CODE_PATH else USER)
    assert [(item["uuid"],) for item in as_json] == found
    page = (await web.get(path, params={"limit": 1000})).json()["items"]
    assert as_json[:1000] == page
    assert text.startswith("uuid,code_uuid,used_by_uuid,date_used,first_use\r\n")
    assert text.count("\r\n") == text.count("\n") == count + 1


async def test_files_take_the_filters_of_pages(web, rows):
    """`from`, `to` and `used_by` leave out of a file what they leave out of pages."""
    rows.fill(100, CODE, USER, START)
    rows.fill(100, CODE, new_uuid(), START)
    span = {"from": "2026-03-01T12:00:10Z", "to": "2026-03-01T12:01:00Z"}
    for params, count in ((span, 100), ({"used_by": USER}, 100), ({"used_by": USER, **span}, 50)):
        items = (await web.get(f"{CODE_PATH}.json", params=params)).json()
        assert len(items) == count
        assert items == (await web.get(CODE_PATH, params={**params, "limit": 1000})).json()["items"]
    assert len((await web.get(f"{USER_PATH}.json", params=span)).json()) == 50
    for params in ({"limit": "5"}, {"cursor": "x"}, {"from": "x"}):
        assert (await web.get(f"{CODE_PATH}.csv", params=params)).status_code == 422


@pytest.mark.parametrize(("path", "what"), [(CODE_PATH, f"of-code-{CODE}"), (USER_PATH, f"by-user-{USER}")])
@pytest.mark.parametrize(
    ("extension", "media_type"), [("csv", "text/csv; charset=utf-8"), ("json", "application/json")]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_files_have_a_name_and_a_type(web, rows, path, what, extension, media_type, method):
    """A file says what it is and under which name to keep it; HEAD says the same and sends nothing."""
    rows.fill(3, CODE, USER, START)
    answer = await web.request(method, f"{path}.{extension}")
    assert answer.headers["content-disposition"] == f'attachment; filename="usages-{what}.{extension}"'
    assert answer.headers["content-type"] == media_type
    assert "content-length" not in answer.headers
    assert bool(answer.content) is (method == "GET")


@pytest.mark.parametrize("path", [CODE_PATH, USER_PATH])
async def test_file_takes_bounded_memory_and_holds_no_connection(web_app, rows, path):
    """
    A file is sent while it is read: no session works while the client is slow, and memory stays below a bound.

    What is not yet read when the first part comes is deleted then: the file ends without it.
    """
    rows.fill(MANY, CODE, USER, START)
    tracemalloc.start()
    try:
        async with SlowClient(web_app, f"{path}.csv") as client:
            lines = 0
            while (part := await client.take()) is not None:
                lines += part.count(b"\r\n")
            _now, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (client.status, lines) == (200, MANY + 1)
    assert peak_bytes < MEMORY_MAX_BYTES

    async with SlowClient(web_app, f"{path}.csv") as client:
        lines = (await client.take()).count(b"\r\n")
        # in a thread: a statement whose answer this loop does not take would never end
        await asyncio.to_thread(wait_until, "no session is at work", lambda: rows.ask(AT_WORK) == [(0,)])
        await asyncio.to_thread(rows.conn.execute, "delete from referral_usages")
        while (part := await client.take()) is not None:
            lines += part.count(b"\r\n")
    assert 1000 < lines < 20_000


@pytest.mark.parametrize("code", [None, CODE])
async def test_history_of_a_user_is_read_in_portions(database_url, rows, code):
    """Whatever is sorted at once, every usage comes once and in order, but for those that are deleted on the way."""
    rows.fill(100, CODE, USER, START)
    rows.fill(50, new_uuid(), USER, START)
    rows.fill(50, CODE, new_uuid(), START)
    where = "used_by_uuid = %s" if code is None else "used_by_uuid = %s and code_uuid = %s"
    expected = [uuid for (uuid,) in rows.ask(HISTORY.format(where), USER, *filter(None, [code]))]
    async with new_database(database_url) as database:
        reader = Reader(database, "referral-usages")
        for portion, page in ((7, 3), (10, 10), (100, 30), (150, 50), (1000, 1000)):
            sizes = {"portion_usages": portion, "page_usages": page}
            found = [usages async for usages in user_history(reader, USER, SpanQuery(), code, **sizes)]
            assert [usage.uuid for usages in found for usage in usages] == expected
        pages = user_history(reader, USER, SpanQuery(), code, portion_usages=20, page_usages=5)
        found = [usage.uuid for usage in await anext(pages)]
        gone = expected[8:60]
        rows.ask("delete from referral_usages where uuid = any (%s::uuid[]) returning uuid", gone)
        found += [usage.uuid async for usages in pages for usage in usages]
    assert found == [uuid for uuid in expected if uuid not in gone]


@pytest.mark.parametrize("code", [None, CODE])
async def test_file_of_a_user_reads_each_usage_twice_at_most(database_url, rows, code):
    """A user's usages are not sorted for each page: each is read once in search of the order, and once to be sent."""
    count = 20_000
    # a vacuum reads all of the table for the index of dates, and counts as well
    rows.conn.execute("alter table referral_usages set (autovacuum_enabled = false)")
    rows.fill(count, CODE, USER, START)
    rows.fill(10 * count, new_uuid(), new_uuid(), START)
    before = rows.ask(ROWS_READ)
    async with new_database(database_url) as database:
        pages = user_history(Reader(database, "referral-usages"), USER, SpanQuery(), code)
        assert sum([len(usages) async for usages in pages]) == count
    # a session tells what it has read when it ends
    await asyncio.to_thread(wait_until, "the sessions have ended", lambda: rows.ask(SESSIONS) == [(0,)])
    assert rows.ask(ROWS_READ)[0][0] - before[0][0] == 2 * count


@impatient
async def test_file_that_cannot_be_read_is_a_problem(web, rows, database_url):
    """A failure before the first usage is a 503 problem, not an empty file."""
    rows.fill(10, CODE, USER, START)
    with psycopg.connect(database_url) as blocker:
        blocker.execute("lock table referral_usages in access exclusive mode")
        answer = await web.get(f"{CODE_PATH}.csv")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "retry-after" in answer.headers
    assert "content-disposition" not in answer.headers


@pytest.mark.parametrize("extension", ["csv", "json"])
async def test_file_cut_short_breaks_the_connection(web_app, rows, extension):
    """When reading fails midway the connection breaks, so that no client takes what it has for the whole file."""
    rows.fill(MANY, CODE, USER, START)
    listener = bind("127.0.0.1", 0)
    url = "http://{}:{}".format(*listener.getsockname())
    async with (
        WebServer(web_app, listener),
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        client.stream("GET", f"{CODE_PATH}.{extension}") as answer,
    ):
        assert answer.status_code == 200
        parts = answer.aiter_raw()
        await anext(parts)
        # in a thread: it waits for a statement whose answer this loop takes
        await asyncio.to_thread(rows.conn.execute, "drop table referral_usages")
        with pytest.raises(httpx.RemoteProtocolError):
            await read_on(parts)


async def test_file_is_refused_over_http_1_0(web_app, rows):
    """HTTP/1.0 ends a file by closing the connection, as a failure would: it gets a 505 that says what to change."""
    rows.fill(10, CODE, USER, START)
    listener = bind("127.0.0.1", 0)
    async with WebServer(web_app, listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(f"GET {CODE_PATH}.csv HTTP/1.0\r\n\r\n".encode())
        async with asyncio.timeout(30):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.split(b"\r\n")[0].split()[1] == b"505"
    assert b"application/problem+json" in answer
