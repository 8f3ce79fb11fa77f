"""What every answer carries: headers that keep browsers from doing more with it than show it. HEAD is served too."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Final = {
    # own styles, scripts in files of our own, own forms: nothing inline, no frame, no other host
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # with no-referrer a browser says `Origin: null` of our own forms too, and `auth` could not tell them from others'
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# paths for programs: problems instead of error pages, and no cache keeps what they answer
_MACHINE_PATHS: Final = frozenset({"/api", "/livez", "/readyz", "/metrics", "/openapi.json"})


def is_for_machines(path: str) -> bool:
    """Whether programs, not people, ask at this path."""
    return path in _MACHINE_PATHS or path.startswith("/api/")


class AnswerHeaders:
    """ASGI middleware: adds the headers, and answers HEAD as GET without its body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(scope["path"], MutableHeaders(scope=message))
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET", "is_head": True} if is_head else scope, receive, send_on)


def add_headers(path: str, headers: MutableHeaders) -> None:
    """Add the headers of every answer; a page may be kept, but not shown again without asking."""
    headers.update(SECURITY_HEADERS)
    headers.setdefault("Cache-Control", "no-store" if is_for_machines(path) else "no-cache")
