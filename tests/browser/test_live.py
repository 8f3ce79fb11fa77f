"""Pages that stay open: figures that change while somebody looks, and what scripts add to pages that work without."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, Route, expect
from publisher import make_events
from visiting import PATIENCE_MS, serious_barriers
from waiting import wait_until

REFRESH_MS = 4_000  # of live.js


def total_uses(page: Page):
    return page.locator("dl > div").filter(has=page.get_by_text("Total uses")).locator("dd")


def publish(system, count: int, **fields: object) -> list:
    """Publish usages of one code and wait until they are stored."""
    before = system.row_count()
    events = make_events(count, codes=1, users=1, **fields)
    system.publisher.publish(events)
    wait_until("the usages are stored", lambda: system.row_count() == before + count)
    return events


@pytest.fixture
def worker(system):
    """A worker of the test's own, which has stored nothing."""
    worker = system.start_worker()
    worker.wait_ready()
    return worker


@pytest.fixture
def worker_url(worker):
    return f"http://127.0.0.1:{worker.port}"


def test_overview_shows_the_first_usage_and_those_after_it_by_itself(system, worker_url, new_visitor):
    """An open overview turns from empty to figures when the first usage is stored, and counts on, untouched."""
    page = new_visitor(worker_url).open("/")
    expect(page.get_by_text("No usage is stored yet")).to_be_visible()
    expect(page.locator("#freshness")).to_contain_text("Up to date", timeout=PATIENCE_MS)
    (event,) = publish(system, 1)
    expect(page.get_by_role("link", name=event.code_uuid).first).to_be_visible(timeout=PATIENCE_MS)
    expect(total_uses(page)).to_have_text("1")
    publish(system, 3)
    expect(total_uses(page)).to_have_text("4", timeout=PATIENCE_MS)
    expect(page.locator("#freshness")).to_contain_text("0 waiting, 4 of 4 partitions live", timeout=PATIENCE_MS)


def test_code_page_keeps_focus_open_parts_and_selection_while_it_counts_on(system, worker_url, new_visitor):
    """New figures leave alone what a reader has focused and opened; what is selected is not taken away."""
    (event,) = publish(system, 1)
    page = new_visitor(worker_url).open(f"/codes/{event.code_uuid}")
    page.get_by_text("The same numbers as a table").click()
    user = page.locator("#history").get_by_role("link", name=event.used_by_uuid).first
    user.focus()
    system.publisher.publish([event.model_copy(update={"event_id": f"more-{n}"}) for n in range(2)])
    expect(total_uses(page)).to_have_text("3", timeout=PATIENCE_MS)
    expect(page.locator("#history").get_by_role("link", name=event.used_by_uuid)).to_have_count(3)
    expect(user).to_be_focused()
    expect(page.locator("#chart-numbers")).to_have_attribute("open", "")

    page.evaluate("getSelection().selectAllChildren(document.querySelector('#figures'))")
    selected = page.evaluate("getSelection().toString()")
    system.publisher.publish([event.model_copy(update={"event_id": "one-more"})])
    expect(page.locator("#history").get_by_role("link", name=event.used_by_uuid)).to_have_count(4, timeout=PATIENCE_MS)
    assert page.evaluate("getSelection().toString()") == selected
    page.evaluate("getSelection().removeAllRanges()")
    expect(total_uses(page)).to_have_text("4", timeout=PATIENCE_MS)


def test_old_figures_stay_while_the_worker_cannot_answer(url, popular, new_visitor):
    """When refreshes fail, what is shown stays, the page says so, and it goes on trying until they succeed."""
    code, counted = popular
    visitor = new_visitor(url)
    page = visitor.open(f"/codes/{code}")
    uses = f"{counted.total_uses:,}"

    def refuse(route: Route) -> None:
        route.fulfill(status=503, headers={"retry-after": "5"}, body="<!doctype html><title>No</title>")

    page.route(f"**/codes/{code}", refuse)
    expect(page.get_by_text("The last refresh failed (503)")).to_be_visible(timeout=PATIENCE_MS)
    expect(total_uses(page)).to_have_text(uses)
    page.unroute(f"**/codes/{code}")
    page.route(f"**/codes/{code}", lambda route: route.abort())
    expect(page.get_by_text("the worker did not answer")).to_be_visible(timeout=PATIENCE_MS)
    page.unroute(f"**/codes/{code}")
    expect(page.get_by_text("Live updates are on")).to_be_visible(timeout=PATIENCE_MS)
    expect(total_uses(page)).to_have_text(uses)
    # the browser notes in its console what a test made fail
    visitor.complaints.clear()


def test_refreshes_end_when_paused_or_hidden_and_are_small_when_nothing_changed(url, popular, new_visitor):
    """A pause or a hidden tab asks for nothing; otherwise an unchanged page is answered 304."""
    page = new_visitor(url).open(f"/codes/{popular[0]}")
    page.clock.install()
    page.goto(f"/codes/{popular[0]}")
    statuses = []
    page.on("response", lambda answer: statuses.append(answer.status))

    def pass_time() -> None:
        page.clock.run_for(10 * REFRESH_MS)

    with page.expect_response("**/codes/*"):
        page.clock.run_for(REFRESH_MS)
    with page.expect_response(lambda answer: answer.status == 304):
        page.clock.run_for(2 * REFRESH_MS)

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused")).to_be_visible()
    page.wait_for_load_state("networkidle")
    statuses.clear()
    pass_time()
    page.wait_for_load_state("networkidle")
    assert statuses == []
    with page.expect_response("**/codes/*"):
        page.get_by_role("button", name="Resume").click()

    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_load_state("networkidle")
    statuses.clear()
    pass_time()
    assert statuses == []
    with page.expect_response("**/codes/*"):
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")


def test_times_are_local_and_told_as_ago_and_kept_current(url, popular, new_visitor):
    """Beside a time in UTC stands how long ago it was, kept current, and its title is the reader's own time."""
    code, counted = popular
    visitor = new_visitor(url, timezone_id="Asia/Kolkata", locale="en-GB")
    page = visitor.context.new_page()
    page.clock.install(time=counted.last_used + timedelta(minutes=3))
    page.goto(f"/codes/{code}")
    last_used = page.locator("dl > div").filter(has=page.get_by_text("Last used")).locator("dd")
    expect(last_used).to_have_text(re.compile("UTC 3 minutes ago$"))
    local = counted.last_used.astimezone(UTC) + timedelta(hours=5, minutes=30)
    expect(last_used.locator("time")).to_have_attribute("title", re.compile(f"{local:%H:%M:%S}.*your time"))
    page.clock.run_for(5 * 60_000)
    expect(last_used).to_have_text(re.compile("UTC 8 minutes ago$"))


def test_id_is_copied_whole_by_its_button(url, popular, new_visitor):
    """The button beside an id puts it on the clipboard, and says so."""
    visitor = new_visitor(url, permissions=["clipboard-read", "clipboard-write"])
    page = visitor.open(f"/codes/{popular[0]}")
    page.get_by_role("button", name=f"Copy {popular[0]}").click()
    expect(page.get_by_text(f"Copied {popular[0]}")).to_be_attached()
    assert page.evaluate("navigator.clipboard.readText()") == popular[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_no_serious_barriers(scheme, url, popular, new_visitor):
    """An axe check of each kind of page, with what scripts add, finds nothing serious."""
    code, counted = popular
    page = new_visitor(url, color_scheme=scheme).open("/")
    user = counted.recent_users[0]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for path in ("/", f"/codes/{code}?used_by={user}&last_day={today}", f"/users/{user}", "/search?q=x", "/docs"):
        page.goto(path)
        if path == "/":
            page.get_by_text("The same numbers as a table").click()
        assert serious_barriers(page) == [], path
