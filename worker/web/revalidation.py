"""ETags of pages: a browser that has a page already, as it asks every few seconds, is answered 304 without a body."""

import hashlib
from http import HTTPStatus
from typing import Final

from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TAG_CHARS: Final = 24


def tag_of(*state: object) -> str:
    """Return the weak ETag of a page that follows from this state alone."""
    return _tag(repr(state).encode())


def not_modified(request: Request, tag: str) -> Response | None:
    """Return the answer to who has the page of this tag already; None to who has not."""
    return (
        Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag}) if _knows(request.headers, tag) else None
    )


class Revalidation:
    """ASGI middleware: gives each page an ETag, of its bytes where its author gave it none, and answers 304."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back; of a page, once it is whole."""
        start: Message | None = None
        body = b""

        async def send_on(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
                return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body", False):
                return
            headers = MutableHeaders(scope=start)
            if _knows(Headers(scope=scope), headers.setdefault("ETag", _tag(body))):
                del headers["Content-Length"], headers["Content-Type"]
                start["status"] = HTTPStatus.NOT_MODIFIED.value
                body = b""
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, send_on)


def _is_page(start: Message) -> bool:
    is_html = Headers(scope=start).get("content-type", "").startswith("text/html")
    return start["status"] == HTTPStatus.OK and is_html


def _knows(headers: Headers, tag: str) -> bool:
    known = headers.get("if-none-match", "")
    return tag in (each.strip() for each in known.split(","))


def _tag(content: bytes) -> str:
    return f'W/"{hashlib.sha256(content).hexdigest()[:_TAG_CHARS]}"'
