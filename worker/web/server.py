"""The HTTP server, on the worker's own loop and a socket that was bound before anything connected."""

import errno
import os
import socket
from typing import Any, Final

from faust.contrib.asgi import AsgiService
from starlette.types import ASGIApp

from worker.errors import SettingsError

_BACKLOG: Final = 1024
_CONNECTIONS_MAX: Final = 1000  # a bound on memory; those beyond are answered 503 at once
_FINISH_S: Final = 2  # what requests in flight get at a stop, before they are cancelled
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bind(host: str, port: int) -> socket.socket:
    """
    Return a listening socket; of a name with several addresses, on the first that this machine has.

    Args:
        host: an IPv4 or IPv6 address (with or without brackets), or a name.
        port: 0 takes any free one.
    Raises:
        SettingsError: the port is taken or not allowed, or the address is not of this machine; with the remedy.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"REFERRALS_WEB_HOST: {host!r} is neither an address nor a known name; use 127.0.0.1 for this machine only"
        ) from error
    refusal: OSError | None = None
    for family, _type, _protocol, _name, address in found:
        try:
            listener = socket.create_server(address, family=family, backlog=_BACKLOG)
        except OSError as error:
            refusal = refusal or error
            if error.errno not in _NOT_HERE:
                break
        else:
            # accepted connections inherit it; asyncio (3.11 to 3.13) sets it only on sockets that were made with TCP's
            # number, and without it each answer after the first of a connection waits 40 ms for the client's ACK
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listener
    raise SettingsError(_explain(host, port, refusal)) from refusal


def _explain(host: str, port: int, refusal: OSError | None) -> str:
    code = refusal.errno if refusal else None
    if code == errno.EADDRINUSE:
        return f"REFERRALS_WEB_PORT: port {port} of {host} is taken by another process; end it, or set another port"
    if code == errno.EACCES:
        return f"REFERRALS_WEB_PORT: port {port} needs privileges that this process lacks; set one from 1024 up"
    if code in _NOT_HERE:
        return (
            f"REFERRALS_WEB_HOST: {host!r} is not an address of this machine; "
            "use 127.0.0.1 for this machine only, or 0.0.0.0 for all of its addresses"
        )
    reason = os.strerror(code) if code else "no address found"
    return f"REFERRALS_WEB_HOST, REFERRALS_WEB_PORT: cannot listen on {host!r}, port {port}: {reason}; set others"


class WebServer(AsgiService):
    """
    Serves an ASGI application on a bound socket, which it owns from its start on.

    A stop takes no new requests, lets those in flight finish for 2 s and then cancels them.
    """

    opentelemetry = False

    def __init__(self, asgi_app: ASGIApp, listener: socket.socket, **kwargs: Any) -> None:
        host, port = listener.getsockname()[:2]
        options = {
            "lifespan": "off",
            "access_log": False,
            "log_config": None,
            "log_level": "warning",
            "proxy_headers": False,
            "server_header": False,
            "ws": "none",
            "limit_concurrency": _CONNECTIONS_MAX,
            "timeout_graceful_shutdown": _FINISH_S,
        }
        super().__init__(asgi_app, host=host, port=port, uvicorn_options=options, **kwargs)
        self._listener = listener

    async def on_start(self) -> None:
        """Start serving; the base class would have uvicorn bind a socket of its own."""
        self._server = self._create_server()
        self._serve_fut = self.add_future(self._server.serve(sockets=[self._listener]))

    async def on_stop(self) -> None:
        """Finish the requests in flight and close the socket."""
        await super().on_stop()
        self._listener.close()
