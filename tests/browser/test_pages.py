"""The pages as people meet them: in a real browser, from a real worker process."""

import re
from datetime import UTC
from urllib.parse import parse_qsl, urljoin, urlsplit
from uuid import uuid4

import pytest
from oracle import Statistics
from playwright.sync_api import expect
from publisher import make_events
from visiting import CONTRAST_MIN, FIND_OVERFLOWS, PHONE, READ_CONTRASTS, figure, follow, search, shown_usages
from waiting import wait_until

UTC_FORMAT = "%Y-%m-%d %H:%M:%S UTC"
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MISTYPED = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1"
TABS_MAX = 6
READ_GROUND_LIGHTNESS = "() => Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number))"


def paths(popular: tuple[str, Statistics]) -> list[str]:
    """Return a page of each kind and state."""
    code, counted = popular
    user = counted.recent_users[0]
    return [
        "/",
        "/?period=30d",
        f"/codes/{code}",
        f"/codes/{code}?used_by={user}&first_day=2026-01-01",
        f"/codes/{uuid4()}",
        f"/users/{user}",
        f"/users/{uuid4()}",
        f"/search?q={'W' * 200}",
        f"/search?q={uuid4()}",
        "/docs",
        "/nothing",
    ]


def kind_of(target: str) -> tuple[str, ...]:
    """Return what tells links of different kinds apart: the path without UUIDs, and which filters there are."""
    parts = urlsplit(target)
    filters = sorted(
        f"{name}={value if name in {'period', 'bucket'} else ''}" for name, value in parse_qsl(parts.query)
    )
    return parts.scheme, parts.netloc, UUID.sub("*", parts.path), *filters


def test_start_page_leads_to_the_last_user_of_a_code_without_scripts(url, popular, new_visitor):
    """A stranger whose browser runs no scripts learns who used a code last with one click, or by pasting its UUID."""
    code, counted = popular
    page = new_visitor(url, java_script_enabled=False).open("/")
    follow(page, page.get_by_role("link", name=code).first)
    assert figure(page, "Recent users")[0] == str(counted.recent_users[0])

    follow(page, page.get_by_role("link", name="Referral usages"))
    search(page, f"  {code.upper()} ")
    page.wait_for_url(f"/codes/{code}")
    assert figure(page, "Recent users")[0] == str(counted.recent_users[0])


def test_code_page_shows_what_sql_counts_and_leads_to_the_first_usage(filled, url, popular, new_visitor):
    """A code's page shows its four statistics, and page after page all of its usages, as SQL has them."""
    code, counted = popular
    page = new_visitor(url).open(f"/codes/{code}")
    assert figure(page, "Total uses") == [f"{counted.total_uses:,}"]
    assert figure(page, "Unique users") == [f"{counted.unique_users:,}"]
    assert figure(page, "Last used") == [counted.last_used.astimezone(UTC).strftime(UTC_FORMAT)]
    assert figure(page, "Recent users") == [str(user) for user in counted.recent_users]

    expect(page.get_by_role("heading", name="Latest usages")).to_be_visible()
    found = shown_usages(page)
    while page.get_by_role("link", name="Earlier").count():
        follow(page, page.get_by_role("link", name="Earlier"))
        found += shown_usages(page)
    expect(page.get_by_text("No earlier usages")).to_be_visible()
    stored = filled.conn.execute(
        "select date_used, used_by_uuid::text, first_use from referral_usages where code_uuid = %s"
        " order by date_used desc, uuid desc",
        (code,),
    ).fetchall()
    assert found == [
        (date.astimezone(UTC).strftime(UTC_FORMAT), user, "first" if first else "again") for date, user, first in stored
    ]

    follow(page, page.get_by_role("link", name="Latest", exact=True))
    assert shown_usages(page) == found[: len(shown_usages(page))]


def test_code_page_says_so_when_a_code_was_never_used(url, new_visitor):
    """A valid code without usages has a page that says so, instead of an error or an empty table."""
    code = str(uuid4())
    page = new_visitor(url).open("/")
    search(page, code)
    follow(page, page.get_by_role("link", name="The page of the code"))
    expect(page.get_by_text("This code has not been used yet")).to_be_visible()
    assert figure(page, "Total uses") == ["0"]
    assert figure(page, "Last used") == ["never"]
    expect(page.get_by_role("table")).to_have_count(0)


def test_search_says_what_is_wrong_with_text_that_is_no_code(url, new_visitor):
    """Text that is no UUID is answered with what a code looks like, and can be mended where it was typed."""
    visitor = new_visitor(url)
    page = visitor.open("/")
    search(page, MISTYPED)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(MISTYPED)
    expect(alert).to_contain_text("is not a UUID of 36 characters with hyphens")
    box = page.get_by_role("searchbox")
    expect(box).to_have_value(MISTYPED)
    expect(box).to_have_accessible_description(alert.inner_text())

    search(page, f"{MISTYPED}b")
    expect(page.get_by_text("Never used")).to_be_visible()


def test_start_page_shows_the_first_usage_ever_once_it_is_stored(system, new_visitor):
    """The start page of a new worker says that nothing is stored yet, and shows the first usage after it is."""
    worker = system.start_worker()
    worker.wait_ready()
    page = new_visitor(f"http://127.0.0.1:{worker.port}").open("/")
    expect(page.get_by_text("No usage is stored yet")).to_be_visible()
    expect(page.locator("table.usages")).to_have_count(0)

    (event,) = make_events(1, codes=1, users=1)
    system.publisher.publish([event])
    wait_until("the usage is stored", lambda: system.row_count() == 1)
    page.reload()
    follow(page, page.get_by_role("link", name=event.code_uuid).first)
    assert figure(page, "Recent users") == [event.used_by_uuid]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_in_light_and_dark(scheme, url, popular, new_visitor):
    """Pages are light or dark as the visitor's system is, and all of their text stands out from its ground."""
    visitor = new_visitor(url, color_scheme=scheme)
    page = visitor.open("/")
    is_light = page.evaluate(READ_GROUND_LIGHTNESS) > 127
    assert is_light == (scheme == "light")
    for path in paths(popular):
        page.goto(path)
        contrasts = page.evaluate(READ_CONTRASTS)
        assert len(contrasts) > 5
        assert [found for found in contrasts if found[0] < CONTRAST_MIN] == []


def test_pages_fit_a_phone(url, popular, new_visitor):
    """On a screen of 360 px nothing has to be scrolled sideways, on any page, whatever is typed into the search."""
    page = new_visitor(url, **PHONE).open("/")
    for path in paths(popular):
        page.goto(path)
        assert page.evaluate("[window.innerWidth, document.documentElement.scrollWidth]") == [360, 360], path
        assert page.evaluate(FIND_OVERFLOWS) == [], path


def test_keyboard_alone_is_enough_to_look_up_a_code(url, popular, new_visitor):
    """Tab leads to the search box, which then stands out, and Enter looks up what is typed there."""
    page = new_visitor(url).open("/")
    box = page.get_by_role("searchbox")
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        if box.evaluate("element => element === document.activeElement"):
            break
    expect(box).to_be_focused()
    assert box.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.type(popular[0])
    page.keyboard.press("Enter")
    page.wait_for_url(f"/codes/{popular[0]}")


def test_every_link_leads_somewhere_on_this_worker(url, new_visitor):
    """Whoever follows a link of every kind, page after page, finds no dead end and never leaves the worker."""
    visitor = new_visitor(url)
    page = visitor.open("/")
    kinds: dict[tuple[str, ...], str] = {}
    found, followed = {f"{url}/"}, set()
    while left := sorted(found - followed):
        answer = visitor.context.request.get(left[0])
        assert answer.status == 200, left[0]
        followed.add(left[0])
        if answer.headers["content-type"].startswith("text/html"):
            page.goto(left[0])
            links = page.get_by_role("link").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
            for link in links:
                target = urljoin(left[0], link).partition("#")[0]
                kinds.setdefault(kind_of(target), target)
            found = {f"{url}/", *kinds.values()}
    assert {f"{url}/docs", f"{url}/openapi.json"} < followed
    assert {f"{url}/static/style.css", f"{url}/static/icon.svg"} < set(visitor.requested)
