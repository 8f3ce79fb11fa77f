"""The pages of rejects over real rows: what a browser without scripts gets, and what its forms do."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import psycopg
import pytest
from fix_web import impatient
from html_page import Page

from worker.errors import BrokerUnavailableError
from worker.text import printable
from worker.web.auth import Access
from worker.web.headers import SECURITY_HEADERS

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = {
    "html": (b"<script>alert(1)</script>\"'><img src=x onerror=alert(1)>", "<script>alert(1)</script>\"'><img"),
    "template": (b"{{7*7}}{% raw %}", "{{7*7}}{% raw %}"),
    "formula": (b"=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
    "lines": (b"a\r\nSet-Cookie: a=b\r\n\r\nb", "a\\r\\n\nSet-Cookie: a=b\\r\\n\n\\r\\n\nb"),
    "NUL": (b"a\0b", "a\\x00b"),
    "terminal": (b"\x1b[2J\x07", "\\x1b[2J\\x07"),
    "reversed": ("a\u202eb".encode(), "a\\u202eb"),
    "not utf-8": (b"\xff\xc3(", "\\xff\\xc3("),
    "60 KiB": (b"x" * 61_440, "x" * 61_440),
}


async def read_page(web, path, status=200, **params):
    answer = await web.get(path, params=params or None)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


async def submit(web, path):
    """Send a form and return the page that its sender is led to."""
    answer = await web.post(path)
    assert answer.status_code == 303
    return answer.headers["location"], await web.get(answer.headers["location"])


def records(page):
    """Return the ids of the rejects that a page lists."""
    links = [attributes["href"] for attributes in page.all("a")]
    return [link.removeprefix("/rejections/") for link in links if link.startswith("/rejections/")]


def forms(page):
    return [attributes["action"] for attributes in page.all("form") if attributes["method"] == "post"]


async def test_list_is_empty_when_nothing_is_rejected(web):
    """Without rejects the page says so, and has neither a table nor a form that would do nothing."""
    page = await read_page(web, "/rejections")
    assert "No record is rejected now" in page.text
    assert page.all("table") == forms(page) == []


async def test_list_says_what_was_rejected_and_why(web, rows):
    """A reject is listed with its place, time, reason, detail and the start of its value."""
    id_ = rows.reject(b"[" + b"1," * 500, detail="the value is JSON, but not an object")
    rows.conn.execute("update referral_rejections set attempts = 2, retried_at = now()")
    page = await read_page(web, "/rejections")
    assert records(page) == [id_]
    for text in (
        "referral-usages[3]@42",
        "2026-03-01 12:00:00 UTC published again, on its way",
        "not_an_object the value is JSON, but not an object",
        "[1,1,1,",
        "… 1,001 bytes",
    ):
        assert text in page.text


async def test_list_leads_over_all_rejects(web, rows):
    """The paging links lead to every reject, latest first, of one reason as well, and the filter stays."""
    for number in range(120):
        rows.reject(reason=["empty", "not_json"][number % 2], rejected_at=START + timedelta(seconds=number // 3))
    for path, condition in (("/rejections", "true"), ("/rejections?reason=empty", "reason = 'empty'")):
        expected = rows.ask(
            f"select id::text from referral_rejections where {condition} order by rejected_at desc, id desc"
        )
        found, next_path = [], path
        while next_path is not None:
            page = await read_page(web, next_path)
            found += records(page)
            next_path = page.link("next")
        assert found == [id_ for (id_,) in expected]
        assert "No earlier rejects" in page.text


async def test_counts_are_links_that_filter(web, rows):
    """Each reason has a link with its count, the chosen one is marked, and one that only a newer worker knows works."""
    for reason in ("empty", "empty", "from_a_newer_worker"):
        rows.reject(reason=reason)
    page = await read_page(web, "/rejections")
    for text in ("all 3", "empty 2", "from_a_newer_worker 1"):
        assert text in page.text
    page = await read_page(web, "/rejections?reason=from_a_newer_worker")
    chosen = [attributes["href"] for attributes in page.all("a") if "aria-current" in attributes]
    assert chosen == ["/rejections?reason=from_a_newer_worker"]
    assert len(records(page)) == 1
    page = await read_page(web, "/rejections?reason=invalid_uuid")
    assert "No rejects of this reason" in page.text
    assert forms(page) == []


@pytest.mark.parametrize("query", ["reason=<b>", "cursor=abc", "reasons=empty", "outcome=fine", "retried=-1"])
async def test_list_refuses_a_parameter_that_is_wrong(web, rows, topic, query):
    """A misspelt filter must not publish more than was meant: it is told on a page, and nothing is done."""
    rows.reject()
    await read_page(web, f"/rejections?{query}", 422)
    assert (await web.post(f"/rejections/retry?{query}")).status_code == 422
    assert topic.messages == []


@pytest.mark.parametrize(("value", "shown"), HOSTILE.values(), ids=HOSTILE)
async def test_bytes_of_others_are_text(web, rows, value, shown):
    """Hostile bytes in value, key, header and detail are text, whole; none is markup or gets into a header."""
    detail = printable(value.decode("utf-8", "backslashreplace"))[:500]
    id_ = rows.reject(value, key=value, headers=[("<i>", value)], detail=detail)
    for path in ("/rejections", f"/rejections/{id_}", f"/rejections/{id_}/value"):
        answer = await web.get(path)
        assert answer.headers.items() >= {name.lower(): header for name, header in SECURITY_HEADERS.items()}.items()
        assert "set-cookie" not in answer.headers
        if path.endswith("value"):
            assert answer.content == value
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"] == f'attachment; filename="{id_}.bin"'
            continue
        page = Page(answer.text)
        assert page.script == ""
        assert all(attributes["src"] == "/static/icon.svg" for attributes in page.all("img"))
        assert page.all("i") == []
        assert [attributes["src"] for attributes in page.all("script")] == [
            "/static/live.js", "/static/times.js", "/static/copy.js"
        ]  # fmt: skip
        assert not any(ord(character) < 32 and character != "\n" for character in answer.text)
        assert "\u202e" not in answer.text
    whole = "".join(page.words)
    # value, key and header
    assert whole.count(shown) >= 3
    assert value[:8].hex(" ") in whole
    assert f"{len(value):,} bytes" in page.text


async def test_reject_that_is_too_large_is_shown_in_part(web, rows):
    """Of a value above the limit the page shows the start, says how much follows, and offers all of it as a file."""
    value = "é".encode() * 50_000
    id_ = rows.reject(value, reason="too_large")
    answer = await web.get(f"/rejections/{id_}")
    assert "34,464 more bytes follow" in Page(answer.text).text
    assert answer.text.count("é") == 65_536 // 2
    assert (await web.get(f"/rejections/{id_}/value")).content == value


@pytest.mark.parametrize(("value", "text"), [(None, "null: the record has no value"), (b"", "Empty.")])
async def test_reject_without_value_says_so(web, rows, value, text):
    """A null and an empty value are told apart."""
    page = await read_page(web, f"/rejections/{rows.reject(value)}")
    assert text in page.text
    assert page.all("pre") == []


async def test_page_of_no_reject_says_so(web):
    """An id without a row is 404 with the two ways in which that comes about; one that is no id is 422."""
    page = await read_page(web, f"/rejections/{uuid4()}", 404)
    assert "stored by now" in page.text
    assert (await web.get(f"/rejections/{uuid4()}/value")).status_code == 404
    await read_page(web, "/rejections/abc", 422)


async def test_known_reject_is_not_sent_again(web, rows):
    """Who has the page of a reject gets 304 until something becomes of it."""
    id_ = rows.reject()
    path = f"/rejections/{id_}"
    tag = (await web.get(path)).headers["etag"]
    known = {"If-None-Match": tag}
    answer = await web.get(path, headers=known)
    assert (answer.status_code, answer.content) == (304, b"")
    await web.post(f"{path}/retry")
    answer = await web.get(path, headers=known)
    assert answer.status_code == 200
    assert "on its way" in answer.text


async def test_form_publishes_a_reject_again(web, rows, topic):
    """The form of a reject publishes just this one, and leads back to its page, which says so; loading that is safe."""
    id_ = rows.reject(b"\xff\0", key=b"\0")
    rows.reject()
    (action,) = forms(await read_page(web, f"/rejections/{id_}"))
    location, answer = await submit(web, action)
    assert "on its way" in Page(answer.text).text
    assert [(message.key, message.value) for message in topic.messages] == [(b"\0", b"\xff\0")]
    assert rows.ask("select attempts from referral_rejections where id = %s", id_) == [(1,)]
    # a worker has stored it meanwhile
    rows.conn.execute("delete from referral_rejections where id = %s", [id_])
    page = await read_page(web, location)
    assert "Not a reject any more" in page.text
    assert len(topic.messages) == 1


async def test_form_publishes_all_of_a_reason_again(web, rows, topic):
    """The form of a reason publishes all of it and no other, 1,000 at a time, and the page leads on to the rest."""
    for number in range(1_100):
        rows.reject(b"%d" % number, rejected_at=START + timedelta(seconds=number))
    rows.reject(None, reason="empty")
    page = await read_page(web, "/rejections?reason=not_an_object")
    assert "Publish 1,100 rejects of this reason again" in page.text
    (action,) = forms(page)
    location, answer = await submit(web, action)
    assert parse_qs(urlsplit(location).query)["reason"] == ["not_an_object"]
    page = Page(answer.text)
    assert "1,000 rejects published again" in page.text
    location, answer = await submit(web, forms(page)[0])
    page = Page(answer.text)
    assert "100 rejects published again" in page.text
    assert "More match" not in page.text
    assert sorted(int(message.value) for message in topic.messages) == list(range(1_100))
    assert rows.ask("select sum(attempts) from referral_rejections where reason = 'empty'") == [(0,)]


async def test_form_says_when_nothing_matches_any_more(web, topic):
    """Rejects that were stored since the page was loaded are not announced as published."""
    _location, answer = await submit(web, "/rejections/retry?reason=empty")
    assert "Nothing was published again" in Page(answer.text).text
    assert topic.messages == []


async def test_form_says_what_is_too_large(web, rows, topic):
    """What Kafka would not take is said to stay, alone and among others."""
    id_ = rows.reject(b"x" * 1_000_000, reason="too_large")
    _location, answer = await submit(web, f"/rejections/{id_}/retry")
    assert "Not published: the record is too large" in Page(answer.text).text
    rows.reject()
    _location, answer = await submit(web, "/rejections/retry")
    text = Page(answer.text).text
    assert "1 reject published again" in text
    assert "1 reject left: too large" in text
    assert len(topic.messages) == 1


async def test_form_says_when_kafka_is_away(web, rows, topic):
    """Without Kafka nothing is noted, and the page says to try again."""
    id_ = rows.reject()
    topic.refusal = BrokerUnavailableError("not now")
    for path in (f"/rejections/{id_}/retry", "/rejections/retry?reason=not_an_object"):
        _location, answer = await submit(web, path)
        assert answer.status_code == 200
        assert "Kafka does not take messages now" in Page(answer.text).text
    assert rows.ask("select attempts from referral_rejections") == [(0,)]


@impatient
async def test_pages_while_postgres_is_slow(web, rows, topic, database_url):
    """Without PostgreSQL the pages are 503 and say so, and a form leads to a page that tells what is known."""
    id_ = rows.reject()
    with psycopg.connect(database_url) as blocker:
        blocker.execute("lock table referral_rejections in access exclusive mode")
        for path in ("/rejections", f"/rejections/{id_}", f"/rejections/{id_}/value"):
            answer = await web.get(path)
            assert answer.status_code == 503
            assert "PostgreSQL does not answer" in Page(answer.text).text
            assert "No record is rejected" not in answer.text
        answer = await web.post(f"/rejections/{id_}/retry")
    assert (answer.status_code, topic.messages) == (303, [])
    assert "PostgreSQL did not answer" in Page((await web.get(answer.headers["location"])).text).text


class TestTokens:
    """With an admin token the forms say who may, and do nothing for others."""

    @pytest.fixture
    def access(self) -> Access:
        return Access(admin_token=b"changes", is_reading_open=True)

    async def test_form_says_who_may(self, web, rows, topic):
        """Who may not is told whose token it needs, and asked for it; who may sees the form alone."""
        id_ = rows.reject()
        for path in ("/rejections", f"/rejections/{id_}"):
            page = await read_page(web, path)
            assert "a change needs the token of REFERRALS_WEB_ADMIN_TOKEN" in page.text.replace("A change", "a change")
            (action,) = forms(page)
            assert (await web.post(action)).status_code == 401
            assert topic.messages == []
            own = await web.get(path, headers={"Authorization": "Bearer changes"})
            assert "REFERRALS_WEB_ADMIN_TOKEN" not in own.text
        answer = await web.post(action, headers={"Authorization": "Bearer changes"})
        assert answer.status_code == 303
        assert len(topic.messages) == 1

    async def test_form_of_another_site_is_refused(self, web, rows, topic):
        """A page of another site cannot send the form, even in the browser of who may."""
        id_ = rows.reject()
        headers = {"Authorization": "Bearer changes", "Sec-Fetch-Site": "cross-site"}
        for path in (f"/rejections/{id_}/retry", "/rejections/retry"):
            assert (await web.post(path, headers=headers)).status_code == 403
        assert topic.messages == []


class TestReadersAlone:
    """Without an admin token nobody may change anything where reading needs one."""

    @pytest.fixture
    def access(self) -> Access:
        return Access(reader_token=b"reads")

    async def test_form_has_no_button(self, web, rows):
        """The page says that changes are off, instead of a button that cannot work."""
        rows.reject()
        answer = await web.get("/rejections", headers={"Authorization": "Bearer reads"})
        assert "changes are off: REFERRALS_WEB_ADMIN_TOKEN is not set" in answer.text
        assert ">Publish 1 reject again</button>" not in answer.text
