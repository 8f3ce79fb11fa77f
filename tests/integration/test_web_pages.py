"""The pages over real rows: what a browser without scripts gets."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import psycopg
import pytest
from fix_web import Row, impatient, new_uuid
from html_page import Page

from worker.runs.table import HeldCounts

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODE = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
USER = "1190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1c"
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


async def read_page(web, path, status=200, **params):
    answer = await web.get(path, params=params or None)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


def usage(code=CODE, user=USER, date=START, *, first=True):
    return Row(new_uuid(), code, user, date, first)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        (f"/codes/{CODE}", 200),
        (f"/users/{USER}", 200),
        ("/docs", 200),
        ("/nothing", 404),
        ("/codes/x", 422),
        ("/search?q=x", 422),
        (f"/search?q={CODE}", 200),
    ],
)
async def test_pages_are_whole_without_scripts_or_other_hosts(web, path, status):
    """Every page has its landmarks and language, nothing inline that runs, and asks no other host for anything."""
    page = await read_page(web, path, status)
    tags = [tag for tag, _attributes in page.elements]
    assert {"header", "nav", "main", "footer", "title", "h1"} <= set(tags)
    assert tags.count("h1") == tags.count("main") == 1
    assert all(attributes["src"].startswith("/static/") for attributes in page.all("script"))
    assert page.script == ""
    assert page.all("html") == [{"lang": "en"}]
    for _tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("href", "src", "action"):
            assert attributes.get(name, "/").startswith(("/", "#"))
            assert not attributes.get(name, "/").startswith("//")


async def test_pages_forbid_scripts_and_frames(web):
    """A page's headers leave a browser nothing to run that got into the page: scripts are files of ours alone."""
    headers = (await web.get("/")).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "connect-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/static/style.css", "/static/icon.svg"])
async def test_styles_and_icon_come_from_the_worker(web, path):
    """What the pages load is there, with the headers of every answer."""
    answer = await web.get(path)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_start_page_says_that_nothing_is_stored(web):
    """Without usages the start page says so instead of showing empty tables."""
    page = await read_page(web, "/")
    assert "No usage is stored yet" in page.text
    assert page.all("table") == []


async def test_start_page_shows_most_used_codes_and_latest_usages(web, rows):
    """The start page lists the codes with most uses, and the latest usages of all codes, as SQL orders them."""
    codes = [new_uuid() for _ in range(12)]
    rows.store(
        *[
            usage(code, new_uuid(), START + timedelta(hours=number, seconds=index))
            for number, code in enumerate(codes)
            for index in range(1 + number * 5 % 12)
        ]
    )
    page = await read_page(web, "/")
    links = [attributes["href"] for attributes in page.all("a") if attributes["href"].startswith("/codes/")]
    top = rows.ask("select code_uuid::text from referral_usages group by 1 order by count(*) desc, 1 limit 8")
    latest = rows.ask("select code_uuid::text, used_by_uuid::text from referral_usages order by date_used desc limit 8")
    assert links == [f"/codes/{code}" for code, *_ in top + latest]
    places = [page.text.index(user) for _code, user in latest]
    assert places == sorted(places)


@pytest.mark.parametrize("written", [str, str.upper, lambda uuid: f"  {uuid}\t"], ids=["plain", "upper", "spaces"])
@pytest.mark.parametrize(("uuid", "path"), [(CODE, f"/codes/{CODE}"), (USER, f"/users/{USER}")], ids=["code", "user"])
async def test_search_leads_to_the_page_of_a_code_or_a_user(web, rows, uuid, path, written):
    """A UUID in any case, with spaces around it, leads straight to the page of the code or the user that it is."""
    rows.store(usage())
    answer = await web.get("/search", params={"q": written(uuid)})
    assert (answer.status_code, answer.headers["location"]) == (303, path)


@pytest.mark.parametrize("is_both", [True, False], ids=["both", "neither"])
async def test_search_offers_both_pages_when_it_cannot_tell(web, rows, is_both):
    """A UUID that is a code and a user, or never was either, leads to a page that says so and offers both pages."""
    rows.store(*([usage(), usage(user=CODE)] if is_both else []))
    page = await read_page(web, "/search", q=CODE)
    assert ("Both a code and a user" if is_both else "Never used") in page.text
    assert {f"/codes/{CODE}", f"/users/{CODE}"} <= {attributes["href"] for attributes in page.all("a")}


async def test_search_explains_what_is_not_a_code(web):
    """Anything else is shown again, as text, with the form that is wanted."""
    page = await read_page(web, "/search", 422, q=HOSTILE)
    assert HOSTILE in page.text
    assert "36 characters with hyphens" in page.text
    (box,) = [attributes for attributes in page.all("input") if attributes["name"] == "q"]
    assert (box["value"], box["aria-invalid"]) == (HOSTILE, "true")


@pytest.mark.parametrize("params", [{}, {"q": "   "}])
async def test_empty_search_stays_on_the_start_page(web, params):
    """Searching for nothing is no error."""
    answer = await web.get("/search", params=params)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_code_page_shows_the_four_statistics(web, rows):
    """A code's page shows its total, its users, when it was last used and by whom, in UTC."""
    users = [new_uuid() for _ in range(7)]
    rows.store(*[usage(user=user, date=START + timedelta(seconds=index)) for index, user in enumerate(users * 200)])
    page = await read_page(web, f"/codes/{CODE.upper()}")
    assert f"Code {CODE}" in page.text
    assert "Total uses 1,400" in page.text
    assert "Unique users 7" in page.text
    assert "Last used 2026-03-01 12:23:19 UTC" in page.text
    assert " ".join(["Recent users, latest first", *users[:1:-1]]) in page.text
    assert "from PostgreSQL" in page.text


async def test_code_page_leads_over_all_usages(web, rows):
    """The paging links lead to every usage, latest first, and back to the latest."""
    rows.store(*[usage(user=new_uuid(), date=START + timedelta(seconds=index // 2)) for index in range(120)])
    expected = rows.ask("select used_by_uuid::text from referral_usages order by date_used desc, uuid desc")
    found, path = [], f"/codes/{CODE}"
    while path is not None:
        page = await read_page(web, path)
        # the recent users stand before the table
        table_text = page.text.partition("Time User Use")[2]
        found += [word for word in table_text.split() if len(word) == len(USER)]
        path = page.link("next")
    assert found == [user for (user,) in expected]
    assert f"/codes/{CODE}#usages" in [attributes["href"] for attributes in page.all("a")]
    assert "No earlier usages" in page.text


async def test_code_page_of_a_code_never_used_says_so(web):
    """A valid code without usages has a page that says so, and no table."""
    page = await read_page(web, f"/codes/{CODE}")
    assert "This code has not been used yet" in page.text
    assert "Last used never" in page.text
    assert page.all("table") == []


@pytest.mark.parametrize("path", ["/codes/x", f"/codes/{CODE}?cursor=x", "/nothing/%3Cscript%3E", "/static/none"])
async def test_errors_of_pages_are_pages(web, path):
    """A page that cannot be shown is an error page that says why, and leads back."""
    answer = await web.get(path)
    assert answer.status_code in {404, 422}
    page = Page(answer.text)
    assert "/" in [attributes["href"] for attributes in page.all("a")]
    assert len(page.all("p")) + len(page.all("li")) >= 2


async def test_event_data_is_text_on_every_page(web, table):
    """Text that looks like markup is shown as it is, wherever it comes from."""
    table.held[CODE] = HeldCounts(1, 1, START, [USER])
    answer = await web.get("/search", params={"q": HOSTILE})
    assert "<script>" not in answer.text
    assert "{{7*7}}" in answer.text
    # an address that is no page is not repeated at all
    for path in ("/codes/" + HOSTILE.replace("/", "%2F"), "/" + HOSTILE):
        answer = await web.get(path)
        assert answer.status_code == HTTPStatus.NOT_FOUND
        assert "<script>" not in answer.text
        assert "7*7" not in answer.text


@impatient
async def test_pages_while_postgres_is_slow(web, rows, table, database_url):
    """Without PostgreSQL the pages show what the worker holds, say what is missing and never a zero."""
    rows.store(usage())
    table.held[CODE] = HeldCounts(41, 1, START, [USER])
    with psycopg.connect(database_url) as blocker:
        blocker.execute("lock table referral_code_stats, referral_usages in access exclusive mode")
        start = await web.get("/")
        held = await web.get(f"/codes/{CODE}")
        other = await web.get(f"/codes/{new_uuid()}")
        user = await web.get(f"/users/{USER}")
        found = await web.get("/search", params={"q": CODE})
    for answer in (start, held, other, user, found):
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert "PostgreSQL does not answer" in Page(answer.text).text
    assert "No usage is stored yet" not in start.text
    assert "Total uses 41" in Page(held.text).text
    assert "Total uses" not in other.text
    assert "has not used" not in user.text
    assert f'href="/codes/{CODE}"' in found.text


async def test_docs_describe_every_call(web):
    """The page of the API names every path of the OpenAPI document, and its parameters."""
    page = await read_page(web, "/docs")
    document = (await web.get("/openapi.json")).json()
    for path in document["paths"]:
        assert path in page.text
    for name in ("from", "to", "used_by", "limit", "cursor"):
        assert name in page.text
