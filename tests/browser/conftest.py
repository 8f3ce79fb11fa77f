"""A real Chromium, and a worker process whose pages it visits; nothing outside of this folder needs either."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from fix_worker import System
from oracle import Statistics, recount
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright
from publisher import make_events
from waiting import wait_until

from sandbox.kafka import Kafka
from sandbox.postgres import Postgres

_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
# a browser that asks nobody for anything of its own, where there may be no graphics either
_CHROMIUM_ARGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # root and most containers have none to offer, and the pages are our own
]
_PARTITIONS = 4
_BROKER_TIMEOUT_S = 20
_PAGE_TIMEOUT_MS = 10_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    A Chromium of the machine's.

    Playwright keeps a loop running in this thread until the module ends: no asynchronous test can stand beside its own,
    and what calls asyncio.run, as the database's template does, has to be a fixture of the session.
    """
    path = next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    if path is None:
        pytest.fail(
            f"no browser found (looked for {', '.join(_CHROMIUM_NAMES)}): "
            "install one, on Debian and Ubuntu with `apt-get install chromium`",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_CHROMIUM_ARGS)
        yield browser
        browser.close()


class Visitor:
    """Someone with a browser of their own, which notes what it asks for and what it complains about."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self._host = urlsplit(url).netloc
        self._visited: set[str] = set()
        context.set_default_timeout(_PAGE_TIMEOUT_MS)
        context.on("request", self._note_request)
        context.on("console", self._note_console)
        context.on("weberror", lambda error: self.complaints.append(f"page error: {error.error}"))

    def open(self, path: str) -> Page:
        """Return a new tab at this path."""
        page = self.context.new_page()
        page.goto(path)
        return page

    def assert_content(self) -> None:
        """Nothing was asked of another host, and nothing was complained about."""
        assert [url for url in self.requested if urlsplit(url).netloc != self._host] == []
        assert self.complaints == []

    def _note_request(self, request: Request) -> None:
        self.requested.append(request.url)
        if request.is_navigation_request():
            self._visited.add(request.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        # that the answer to a visit is an error, such as the 422 of a mistyped code, is said on the page itself
        is_answer = message.text.startswith("Failed to load resource") and message.location["url"] in self._visited
        if message.type in {"error", "warning"} and not is_answer:
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")


@pytest.fixture
def new_visitor(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Make visitors of a worker at this address; a page that leaves them with a complaint fails the test."""
    visitors: list[Visitor] = []

    def make(url: str, **options: object) -> Visitor:
        visitors.append(Visitor(browser.new_context(base_url=url, **options), url))
        return visitors[-1]

    yield make
    for visitor in visitors:
        visitor.context.close()
    for visitor in visitors:
        visitor.assert_content()


@pytest.fixture(scope="module")
def filled(
    kafka: Kafka,
    admin: AdminClient,
    postgres: Postgres,
    database_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """A worker that has stored usages of a few codes; tests only read them, so they share it."""
    name = f"browser_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name, template=database_template)
    admin.create_topics([NewTopic(name, _PARTITIONS, 1)])[name].result(_BROKER_TIMEOUT_S)
    folder: Path = tmp_path_factory.mktemp("browser")
    system = System(kafka, admin, name, _PARTITIONS, postgres.url(name), folder)
    try:
        worker = system.start_worker()
        system.publisher.publish(make_events(500, codes=6, users=40, repeated=0.05))
        worker.wait_ready()
        system.wait_drained()
        for code, counted in recount(system.conn).items():
            wait_until(
                f"the worker shows all uses of {code}",
                lambda path=f"/api/v1/codes/{code}/stats", counted=counted: (
                    worker.get(path)[1]["total_uses"] == counted.total_uses
                ),
            )
        yield system
    finally:
        system.close()
        admin.delete_topics([name])[name].result(_BROKER_TIMEOUT_S)
        postgres.drop_database(name)


@pytest.fixture(scope="module")
def url(filled: System) -> str:
    """The address of the worker that has stored usages."""
    return f"http://127.0.0.1:{filled.workers[0].port}"


@pytest.fixture(scope="module")
def popular(filled: System) -> tuple[str, Statistics]:
    """The code with the most uses, and its statistics as SQL counts them from the rows."""
    code, counted = max(recount(filled.conn).items(), key=lambda item: item[1].total_uses)
    return str(code), counted
