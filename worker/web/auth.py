"""
Who may: tokens, and no change that another web page has a browser make.

It stands before every route, so none is open because its author forgot something.
"""

import base64
import hmac
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from fastapi.responses import Response
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from worker.settings import PREFIX, Settings, is_loopback
from worker.web.headers import is_for_machines
from worker.web.problems import Failure

Role = Literal["reader", "admin"]

OPEN_PATHS: Final = frozenset({"/livez", "/readyz"})
"""What asks here holds no token, and learns no more than that the worker is well."""

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# what a browser says of a request: made by a page of ours, or by a person who typed the address
_OWN_SITES: Final = frozenset({"same-origin", "none"})
_BASIC: Final = 'Basic realm="referral usages", charset="UTF-8"'
_BEARER: Final = 'Bearer realm="referral usages"'


@dataclass(frozen=True)
class Access:
    """
    What a worker asks of those who call it; as made, everything is open to everybody.

    Args:
        reader_token: reads.
        admin_token: reads and changes.
        is_reading_open: reading needs no token.
        hosts: names that a request may ask for; None for any. A page of another host whose name leads to this address
            (DNS rebinding) names itself.
        own_origin: of the URL under which people reach the worker.
    """

    reader_token: bytes | None = field(default=None, repr=False)
    admin_token: bytes | None = field(default=None, repr=False)
    is_reading_open: bool = False
    hosts: frozenset[str] | None = None
    own_origin: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings ask for."""
        own = urlsplit(settings.web_url or "")
        # elsewhere tokens guard, which a browser does not send to another name
        hosts = frozenset({own.hostname} if own.hostname else ()) if is_loopback(settings.web_host) else None
        return cls(
            reader_token=_bytes(settings.web_token),
            admin_token=_bytes(settings.web_admin_token),
            is_reading_open=settings.web_anonymous,
            hosts=hosts,
            own_origin=f"{own.scheme}://{own.netloc}".lower() if own.netloc else None,
        )

    @property
    def has_tokens(self) -> bool:
        """Whether anything is closed at all."""
        return self.reader_token is not None or self.admin_token is not None

    def role_of(self, token: bytes | None) -> Role | None:
        """Return what a token is for; both are compared in constant time."""
        is_admin = self.admin_token is not None and hmac.compare_digest(token or b"", self.admin_token)
        is_reader = self.reader_token is not None and hmac.compare_digest(token or b"", self.reader_token)
        return "admin" if is_admin else "reader" if is_reader else None

    def refuse(self, method: str, path: str, headers: Headers) -> Failure | None:
        """Return why a request is refused; None when it is not."""
        is_change = method not in _READS
        if path in OPEN_PATHS and not is_change:
            return None
        return self._refuse_origin(headers, is_change=is_change) or self._refuse_token(
            path, headers, is_change=is_change
        )

    def refuse_change(self, headers: Headers) -> Failure | None:
        """Return why whoever reads a page with these headers may not change anything; None when they may."""
        return self._refuse_token("/", headers, is_change=True)

    def _refuse_origin(self, headers: Headers, *, is_change: bool) -> Failure | None:
        host = headers.get("host")
        if self.hosts is not None and host is not None and not _is_own_host(host, self.hosts):
            return Failure(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this worker serves its own machine alone and does not answer for {host!r}; behind a proxy, set "
                f"{PREFIX}WEB_URL to the URL that people use",
            )
        if is_change and self._is_foreign(headers):
            return Failure(HTTPStatus.FORBIDDEN, "a page of another site may not change anything here")
        return None

    def _refuse_token(self, path: str, headers: Headers, *, is_change: bool) -> Failure | None:
        if not self.has_tokens or (self.is_reading_open and not is_change):
            return None
        scheme, token = _credentials(headers)
        role = self.role_of(token)
        if role == "admin" or (role == "reader" and not is_change):
            return None
        if role == "reader" and (scheme == "bearer" or self.admin_token is None):
            return Failure(HTTPStatus.FORBIDDEN, _explain_admin(self.admin_token))
        # to a person with the other token as well: a browser asks for another password only when it is told 401
        needed = _explain_admin(self.admin_token) if is_change else f"this needs the token of {PREFIX}WEB_TOKEN"
        challenge = f"{_BEARER}, {_BASIC}" if is_for_machines(path) else _BASIC
        return Failure(
            HTTPStatus.UNAUTHORIZED,
            f"{needed}: as a bearer token, or as the password of any user",
            headers={"WWW-Authenticate": challenge},
        )

    def _is_foreign(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site not in _OWN_SITES
        # older browsers, and those that came by plain HTTP; programs send neither
        origin = headers.get("origin")
        if origin is None:
            return False
        own = urlsplit(origin.lower())
        return own.netloc != headers.get("host", "").lower() and origin.lower() != self.own_origin


class Guard:
    """
    ASGI middleware: lets pass what `access` does not refuse.

    Args:
        answer: shows a failure at a path.
    """

    def __init__(self, app: ASGIApp, access: Access, answer: Callable[[str, Failure], Response]) -> None:
        self._app = app
        self._access = access
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        app = self._app
        if scope["type"] != "lifespan":
            failure = self._access.refuse(scope.get("method", "GET"), scope["path"], Headers(scope=scope))
            if failure is not None:
                app = self._answer(scope["path"], failure)
        await app(scope, receive, send)


def _explain_admin(admin_token: bytes | None) -> str:
    if admin_token is None:
        return f"changes are off: {PREFIX}WEB_ADMIN_TOKEN is not set"
    return f"a change needs the token of {PREFIX}WEB_ADMIN_TOKEN"


def _credentials(headers: Headers) -> tuple[str, bytes | None]:
    """Return the scheme and the token of a request; the token is None when there is none, or in no form of ours."""
    scheme, _, said = headers.get("authorization", "").partition(" ")
    scheme = scheme.lower()
    if scheme == "bearer":
        return scheme, said.strip().encode()
    if scheme == "basic":
        try:
            _user, colon, password = base64.b64decode(said.strip(), validate=True).partition(b":")
        except (Base64Error, ValueError):
            return scheme, None
        return scheme, password if colon else None
    return scheme, None


def _is_own_host(host: str, names: frozenset[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in names or is_loopback(name)


def _bytes(token: SecretStr | None) -> bytes | None:
    return None if token is None else token.get_secret_value().encode()
