"""Rejects as people meet them: found, looked at and published again, in a real browser; and the workers."""

import re
from urllib.parse import urljoin

import pytest
from fix_worker import System
from playwright.sync_api import Page, expect
from publisher import make_events
from visiting import CONTRAST_MIN, FIND_OVERFLOWS, PATIENCE_MS, PHONE, READ_CONTRASTS, follow, serious_barriers
from waiting import wait_until

HOSTILE = [
    (b"<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">", b"<b>"),
    (b"=cmd|' /C calc'!A0\r\nSet-Cookie: a=b\r\n\r\n\0\xff", b"\x1b[2J\0"),
    (b"x" * 61_440, b"y" * 2_000),
    (None, None),
]
HEIGHT_MAX_PX = 4_000  # a value of 60 KiB would be many times as high


def forbid(system: System, user: str) -> None:
    """Have the database refuse usages by this user."""
    system.conn.execute(f"alter table referral_usages add constraint no_fraud check (used_by_uuid <> '{user}')")


def allow(system: System) -> None:
    """Have the database refuse nothing any more."""
    system.conn.execute("alter table referral_usages drop constraint no_fraud")


def wait_rejected(system: System, count: int, condition: str = "true") -> None:
    statement = f"select count(*) from referral_rejections where {condition}"
    wait_until(f"{count} records are rejected", lambda: system.conn.execute(statement).fetchone()[0] == count)


def reason(page: Page, text: str):
    """Return the link of a reason, or of all, with its count."""
    return page.get_by_role("navigation", name="Reasons").get_by_role("link", name=text, exact=True)


@pytest.fixture
def worker_url(system):
    """The address of a worker of the test's own."""
    worker = system.start_worker()
    worker.wait_ready()
    return f"http://127.0.0.1:{worker.port}"


@pytest.fixture
def refused(system, worker_url):
    """The address of a worker that has rejected a usage which the database refuses, and two which stay wrong."""
    events = make_events(3, codes=1, users=3)
    forbid(system, events[0].used_by_uuid)
    system.publisher.publish(events)
    system.publisher.publish_raw(b"[1]")
    system.publisher.publish_raw(b"[2]")
    wait_rejected(system, 3)
    return worker_url


def test_reject_appears_and_leaves_when_it_is_published_again(system, worker_url, new_visitor):
    """A bad event appears on the open page by itself; once its reason is gone a retry moves it to the usages."""
    (event,) = make_events(1, codes=1, users=1)
    forbid(system, event.used_by_uuid)
    page = new_visitor(worker_url).open("/rejections")
    expect(page.get_by_text("No record is rejected now")).to_be_visible()

    system.publisher.publish([event])
    expect(reason(page, "all 1")).to_be_visible(timeout=PATIENCE_MS)
    follow(page, page.get_by_role("table").get_by_role("link"))
    expect(page.get_by_role("region", name="Value as text")).to_contain_text(event.code_uuid)

    page.get_by_text("Publish it again…").click()
    page.get_by_role("button", name="Publish it again").click()
    expect(page.get_by_text("Rejected again after it was published 1 more time")).to_be_visible(timeout=PATIENCE_MS)

    allow(system)
    page.get_by_text("Publish it again…").click()
    page.get_by_role("button", name="Publish it again").click()
    expect(page.get_by_text("Not a reject any more")).to_be_visible(timeout=PATIENCE_MS)
    follow(page, page.get_by_role("link", name="All rejects"))
    expect(page.get_by_text("No record is rejected now")).to_be_visible()
    page.goto(f"/codes/{event.code_uuid}")
    expect(page.locator("dl > div").filter(has=page.get_by_text("Total uses")).locator("dd")).to_have_text("1")


def test_rejects_of_a_reason_are_published_again_with_the_keyboard_alone(system, refused, new_visitor):
    """Tab and Enter lead to the confirmation and through it; the count of this reason moves, the others stay."""
    page = new_visitor(refused).open("/rejections")
    follow(page, reason(page, "refused_by_database 1"))
    expect(page.locator(".rejects tbody tr")).to_have_count(1)
    allow(system)
    reason(page, "refused_by_database 1").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#retry summary")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Publish 1 reject again")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 reject published again.")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("No rejects of this reason")).to_be_visible(timeout=PATIENCE_MS)
    expect(reason(page, "all 2")).to_be_visible()
    assert system.row_count() == 3


def test_rejects_are_published_again_without_scripts(system, refused, new_visitor):
    """A browser that runs no scripts finds, confirms and is told as well; loading the answer again is safe."""
    page = new_visitor(refused, java_script_enabled=False).open("/")
    follow(page, page.get_by_role("link", name="Rejects", exact=True))
    expect(reason(page, "all 3")).to_be_visible()
    allow(system)
    page.locator("#retry summary").click()
    page.get_by_role("button", name="Publish 3 rejects again").click()
    expect(page.get_by_text("3 rejects published again.")).to_be_visible()
    wait_until("the usage is stored", lambda: system.row_count() == 3)
    wait_rejected(system, 2, "attempts = 1 and rejected_at > retried_at")
    page.reload()
    expect(reason(page, "all 2")).to_be_visible()
    wait_rejected(system, 2, "attempts = 1 and rejected_at > retried_at")


def test_confirmation_stays_open_while_the_list_grows(system, refused, new_visitor):
    """New rejects are counted on the open page without closing the confirmation that somebody reads."""
    page = new_visitor(refused).open("/rejections")
    page.locator("#retry summary").click()
    system.publisher.publish_raw(b"[3]")
    expect(page.get_by_role("button", name="Publish 4 rejects again")).to_be_visible(timeout=PATIENCE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_rejects_are_inert_and_readable_everywhere(scheme, system, worker_url, new_visitor):
    """Whatever bytes were published: nothing runs, nothing overflows a phone, and axe finds nothing serious."""
    for value, said in HOSTILE:
        system.publisher.publish_raw(value, said, headers=[("<script>", said), ("none", None)])
    wait_rejected(system, len(HOSTILE))
    ids = system.conn.execute("select id::text from referral_rejections").fetchall()
    paths = ["/rejections", *(f"/rejections/{id_}" for (id_,) in ids), "/workers"]
    for device in ({}, PHONE):
        page = new_visitor(worker_url, color_scheme=scheme, **device).open("/")
        for path in paths:
            page.goto(path)
            expect(page).to_have_title(re.compile("Reject|Workers"))
            if page.locator("#retry").count():
                page.locator("#retry summary").click()
            assert [found for found in page.evaluate(READ_CONTRASTS) if found[0] < CONTRAST_MIN] == [], path
            if device:
                assert page.evaluate("[window.innerWidth, document.documentElement.scrollWidth]") == [360, 360], path
                assert page.evaluate(FIND_OVERFLOWS) == [], path
            assert page.evaluate("document.documentElement.scrollHeight") < HEIGHT_MAX_PX, path
            assert serious_barriers(page) == [], path


def test_value_is_a_file_of_just_its_bytes(refused, new_visitor):
    """The value of a reject can be had as a file, byte for byte."""
    visitor = new_visitor(refused)
    page = visitor.open("/rejections?reason=not_an_object")
    follow(page, page.get_by_role("table").get_by_role("link").first)
    link = page.get_by_role("link", name="The value as a file")
    answer = visitor.context.request.get(urljoin(page.url, link.get_attribute("href")))
    assert answer.body() in {b"[1]", b"[2]"}


def test_workers_page_shows_a_worker_and_its_partitions(filled, url, new_visitor):
    """The page names the worker, links to it, and shows every partition at the position that SQL has."""
    page = new_visitor(url).open("/")
    follow(page, page.get_by_role("link", name="Workers", exact=True))
    partitions = page.locator("#partitions tbody tr")
    expect(partitions).to_have_count(filled.partitions)
    expect(page.locator("#totals")).to_contain_text("4 of 4", timeout=PATIENCE_MS)
    shown = [row.split() for row in partitions.all_inner_texts()]
    assert {int(row[0]): int(row[2].replace(",", "")) for row in shown} == filled.positions()
    expect(page.locator("#workers").get_by_role("link", name=url)).to_be_visible()
