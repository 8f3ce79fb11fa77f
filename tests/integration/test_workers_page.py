"""The page of the workers over real rows; workers are announced by hand."""

from datetime import UTC, datetime

from fix_web import PARTITIONS, announce
from html_page import Page

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def read_page(web):
    answer = await web.get("/workers")
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def test_workers_and_partitions_are_those_announced(web, rows):
    """Each worker has its link, version, times and sums, each partition its reader, position and lag."""
    announce(rows, "http://a:8080", (0, 0, START), (2, 1_200, START), rate=1_000)
    announce(rows, "http://b:8080", (1, 5, START), (3, 0, START), rate=234)
    page = await read_page(web)
    for text in ("Workers 2", "Partitions live 4 of 4", "Waiting 1,205", "Stored per second 1,234"):
        assert text in page.text
    workers, partitions = page.tables
    assert [[row[0], row[1], *row[4:]] for row in workers[1:]] == [
        ["http://a:8080", "1.2.3", "2", "1,200", "1,000"],
        ["http://b:8080", "1.2.3", "2", "5", "234"],
    ]
    assert all(row[2] == "2026-03-01 12:00:00 UTC" and row[3].endswith("UTC") for row in workers[1:])
    assert partitions[1:] == [
        ["0", "http://a:8080", "100", "0"],
        ["1", "http://b:8080", "100", "5"],
        ["2", "http://a:8080", "100", "1,200"],
        ["3", "http://b:8080", "100", "0"],
    ]
    assert {"http://a:8080", "http://b:8080"} <= {attributes["href"] for attributes in page.all("a")}


async def test_what_is_not_known_is_no_zero(web, rows):
    """A lag that is not known and a partition that nobody reads are said to be so, in the sums as well."""
    announce(rows, "http://a", (0, 0, START), (1, None, None))
    page = await read_page(web)
    assert "Partitions live 1 of 4" in page.text
    assert "Waiting not known yet" in page.text
    workers, partitions = page.tables
    assert workers[1][5] == "not known yet"
    assert partitions[1:] == [
        ["0", "http://a", "100", "0"],
        ["1", "http://a", "100", "not known yet"],
        ["2", "nobody", "not known yet", "not known yet"],
        ["3", "nobody", "not known yet", "not known yet"],
    ]


async def test_no_worker_is_said(web, rows):
    """When no worker was seen of late the page says that nothing is stored, and no rate of 0."""
    announce(rows, "http://gone", (0, 0, START), age_s=11)
    page = await read_page(web)
    assert "No worker is seen now" in page.text
    assert "Stored per second not known" in page.text
    (partitions,) = page.tables
    assert [row[1] for row in partitions[1:]] == ["nobody"] * PARTITIONS


async def test_address_that_is_no_web_address_is_no_link(web, rows):
    """What a row calls its URL is text, and a link only when a browser would open a web page."""
    announce(rows, "javascript:alert(1)<b>", (0, 0, START))
    page = await read_page(web)
    assert "javascript:alert(1)<b>" in page.text
    assert not any(attributes["href"].startswith("javascript") for attributes in page.all("a"))
    assert page.all("b") == []
