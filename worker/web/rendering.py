"""How pages are written: templates whose values are escaped, how times look, and addresses that hold the filters."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.web.charts import HEIGHT as CHART_HEIGHT
from worker.web.params import UUID_EXAMPLE
from worker.web.problems import Failure

_TEMPLATES: Final = Path(__file__).parent / "templates"


class Templates:
    """The HTML templates, whose values are escaped and must all be given."""

    def __init__(self, version: str) -> None:
        self.version = version
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(utc=_utc, clock=_clock, iso=_iso, grouped=_grouped, several=_several)
        self._environment.globals.update(version=version, uuid_example=UUID_EXAMPLE, height=CHART_HEIGHT)
        # compiling some takes 50 ms, for which everything else would wait once the worker is at work
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def page(
        self, name: str, status: HTTPStatus = HTTPStatus.OK, *, failure: Failure | None = None, **values: object
    ) -> HTMLResponse:
        """Return a page, of a failure when one is given; `search` is what its search box holds."""
        values.setdefault("search", "")
        body = self._environment.get_template(name).render(values, failure=failure)
        return HTMLResponse(body, failure.status if failure else status, failure.headers if failure else None)

    def failure(self, failure: Failure) -> HTMLResponse:
        """Return the page of a request that failed."""
        return self.page("failure.html", failure=failure)


class Address:
    """The address of a page with its filters, for links that change some of them."""

    def __init__(self, path: str, filters: Mapping[str, object] | None = None) -> None:
        self.path = path
        self._filters = filters or {}

    def __call__(self, **changes: object) -> str:
        """Return the address with these filters changed; one that is None is left out."""
        filters = {name: value for name, value in {**self._filters, **changes}.items() if value is not None}
        return f"{self.path}?{urlencode(filters)}" if filters else self.path


def _utc(date: datetime) -> str:
    return date.strftime("%Y-%m-%d %H:%M:%S UTC")


def _clock(date: datetime) -> str:
    """Return the time alone of a moment of today, as its date would only be in the way."""
    return date.strftime("%H:%M:%S UTC") if date.date() == datetime.now(UTC).date() else _utc(date)


def _iso(date: datetime) -> str:
    return date.isoformat().replace("+00:00", "Z")


def _grouped(number: int) -> str:
    return f"{number:,}"


def _several(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, such as '1 use' and '2 uses'."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
