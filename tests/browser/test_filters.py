"""Filters and files as people use them, over stored usages: what they see is what SQL says."""

import csv
from datetime import UTC, timedelta
from pathlib import Path

from playwright.sync_api import expect
from visiting import follow, shown_usages


def test_history_is_filtered_by_days_and_user_and_exported_as_shown(filled, url, popular, new_visitor):
    """Filled into the form, days and a user leave their usages alone, in an address to share and in the files."""
    code, counted = popular
    user = str(counted.recent_users[0])
    day = counted.last_used.astimezone(UTC).date()
    page = new_visitor(url).open(f"/codes/{code}")
    page.get_by_label("First day").fill(f"{day - timedelta(days=1)}")
    page.get_by_label("Last day").fill(f"{day}")
    page.get_by_label("User", exact=True).fill(f" {user.upper()} ")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("Yes, this user has used this code")).to_be_visible()
    stored = filled.conn.execute(
        "select uuid::text from referral_usages where code_uuid = %s and used_by_uuid = %s"
        " and date_used >= %s and date_used < %s order by date_used desc, uuid desc",
        (code, user, f"{day - timedelta(days=1)}T00:00Z", f"{day + timedelta(days=1)}T00:00Z"),
    ).fetchall()
    assert [shown[1] for shown in shown_usages(page)] == [user] * len(stored)
    assert f"first_day={day - timedelta(days=1)}" in page.url

    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    with Path(download.value.path()).open(newline="", encoding="utf-8") as file:
        assert [(row["uuid"],) for row in csv.DictReader(file)] == stored

    follow(page, page.get_by_role("link", name="Show all"))
    expect(page.get_by_label("First day")).to_have_value("")


def test_periods_of_the_chart_keep_to_the_address(url, popular, new_visitor):
    """A period is a link, its chart has as many bars as hours or days, and a reload shows the same."""
    code, _counted = popular
    page = new_visitor(url).open(f"/codes/{code}")
    for name, count in (("24 hours", 24), ("30 days", 30), ("90 days", 90), ("7 days", 168)):
        follow(page, page.get_by_role("link", name=name))
        expect(page.locator(".slot")).to_have_count(count)
        page.reload()
        expect(page.locator(".slot")).to_have_count(count)
    follow(page, page.get_by_role("link", name="by day"))
    expect(page.locator(".slot")).to_have_count(7)


def test_stranger_finds_the_last_user_of_a_code_in_two_clicks(filled, url, popular, new_visitor):
    """From the overview one click shows who used a code last, and a second what else that user has used."""
    code, counted = popular
    user = str(counted.recent_users[0])
    page = new_visitor(url, java_script_enabled=False).open("/")
    follow(page, page.get_by_role("link", name=code).first)
    follow(page, page.get_by_role("link", name=user).first)
    used = filled.conn.execute(
        "select distinct code_uuid::text from referral_usages where used_by_uuid = %s", (user,)
    ).fetchall()
    for (each,) in used:
        expect(page.get_by_role("link", name=each).first).to_be_visible()
