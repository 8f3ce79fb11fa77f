"""Histories as files, CSV or JSON, sent page by page as they are read."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Concatenate, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import TypeAdapter

from schemas.stats import USAGE, Usage
from worker.web.problems import described

_USAGES: Final = TypeAdapter(list[Usage])


@dataclass(frozen=True)
class FileForm:
    """How usages are written to a file: its head, pages with something in between, its tail."""

    name: str
    extension: str
    media_type: str
    head: bytes
    write: Callable[[list[Usage]], bytes]
    between: bytes
    tail: bytes
    schema: dict[str, Any]
    example: object

    @property
    def described(self) -> dict[int | str, dict[str, Any]]:
        """What OpenAPI shows for the answers."""
        content = {self.media_type: {"schema": self.schema, "example": self.example}}
        return {
            HTTPStatus.OK.value: {"description": "the whole history, sent as it is read", "content": content},
            **described(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        }


def _write_csv(usages: list[Usage]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(
        (usage.uuid, usage.code_uuid, usage.used_by_uuid, _iso(usage.date_used), str(usage.first_use).lower())
        for usage in usages
    )
    return text.getvalue().encode()


def _write_json(usages: list[Usage]) -> bytes:
    return _USAGES.dump_json(usages)[1:-1]


def _iso(date: datetime) -> str:
    # as in JSON
    return date.isoformat().replace("+00:00", "Z")


_HEADER: Final = ",".join(Usage.model_fields) + "\r\n"

_CSV: Final = FileForm(
    name="CSV (RFC 4180, UTF-8)",
    extension="csv",
    media_type="text/csv; charset=utf-8",
    head=_HEADER.encode(),
    write=_write_csv,
    between=b"",
    tail=b"",
    schema={"type": "string"},
    example=_HEADER + _write_csv([Usage.model_validate(USAGE)]).decode(),
)
_JSON: Final = FileForm(
    name="one JSON array",
    extension="json",
    media_type="application/json",
    head=b"[",
    write=_write_json,
    between=b",\n",
    tail=b"]\n",
    schema={"type": "array", "items": {"$ref": "#/components/schemas/Usage"}},
    example=[USAGE],
)


def add_files(
    router: APIRouter, path: str, export: Callable[Concatenate[FileForm, ...], Awaitable[Response]], *, of: str
) -> None:
    """
    Add a route for each form of a history as a file: `path` with an extension.

    Args:
        export: answers with the file; its parameters after the form are those of the routes.
        of: whose history it is, in one word.
    """
    for form in (_CSV, _JSON):
        router.add_api_route(
            f"{path}.{form.extension}",
            partial(export, form),
            name=f"export_{of}_usages_as_{form.extension}",
            description=f"The whole history of a {of} as {form.name}, latest first.",
            response_class=Response,
            responses=form.described,
        )


async def history_file(request: Request, form: FileForm, name: str, pages: AsyncIterator[list[Usage]]) -> Response:
    """
    Return the answer that sends a whole history, read in pages as the caller takes them.

    A failure breaks the connection, which HTTP/1.1 tells from an end.

    Args:
        name: of the file, without its extension.
        pages: of `worker.web.histories`.
    Raises:
        StoreUnavailableError: the first page could not be read; nothing was sent.
        HTTPException: the caller speaks HTTP/1.0, to which a broken connection is the end of the file.
    """
    if request.scope["http_version"] == "1.0":
        raise HTTPException(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
            "files are sent over HTTP/1.1 and later alone, where a file that was cut short cannot be taken for a whole "
            "one; of a proxy in between, raise the version that it speaks to this server",
        )
    first: list[Usage] = await anext(pages, [])
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form.extension}"'}
    # of HEAD the rest would be read for nobody
    parts = () if "is_head" in request.scope else _parts(form, first, pages)
    return StreamingResponse(parts, headers=headers, media_type=form.media_type)


async def _parts(form: FileForm, first: list[Usage], pages: AsyncIterator[list[Usage]]) -> AsyncIterator[bytes]:
    yield form.head + form.write(first)
    async for page in pages:
        yield form.between + form.write(page)
    yield form.tail
