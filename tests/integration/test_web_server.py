"""The HTTP server: its socket, its start and its stop."""

import asyncio
import socket

import httpx
import pytest
from fastapi import FastAPI

from worker.errors import SettingsError
from worker.web.server import WebServer, bind

DEADLINE_S = 30


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_bind_listens(host):
    """A socket is bound and listens on the address asked for."""
    with bind(host, 0) as listener:
        socket.create_connection(("localhost", listener.getsockname()[1]), timeout=5).close()


def test_connections_send_without_delay():
    """A connection taken from the socket sends at once instead of waiting for the client's ACK."""
    with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), timeout=5):
        connection, _address = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_bind_takes_ipv6(host):
    """An IPv6 address is taken with and without brackets; a machine without IPv6 is told so."""
    if has_ipv6():
        with bind(host, 0) as listener:
            assert listener.getsockname()[0] == "::1"
    else:
        with pytest.raises(SettingsError, match="not an address of this machine"):
            bind(host, 0)


def test_bind_names_the_taken_port():
    """A port of another process is refused with the setting and the remedy."""
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"REFERRALS_WEB_PORT: port {port} of 127.0.0.1 is taken"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_bind_names_an_address_of_another_machine(host):
    """An address that this machine does not have is refused with the setting and the remedy."""
    with pytest.raises(SettingsError, match=r"REFERRALS_WEB_HOST: .* is not an address of this machine; use 127.0.0.1"):
        bind(host, 0)


@pytest.mark.parametrize("host", ["no such name.invalid", "x" * 70 + ".invalid"])
def test_bind_names_an_unknown_name(host):
    """A name that nobody knows is refused with the setting and the remedy."""
    with pytest.raises(SettingsError, match=r"REFERRALS_WEB_HOST: .* is neither an address nor a known name"):
        bind(host, 0)


async def test_server_serves_on_its_socket_and_frees_it():
    """A started server answers on the socket it was given; after the stop the port is free."""
    app = FastAPI()

    @app.get("/")
    async def answer() -> str:
        return "here"

    listener = bind("127.0.0.1", 0)
    host, port = listener.getsockname()
    async with WebServer(app, listener), httpx.AsyncClient() as client:
        response = await client.get(f"http://{host}:{port}/")
        assert response.json() == "here"
        assert "server" not in response.headers
    bind(host, port).close()


async def test_stop_lets_requests_in_flight_finish():
    """A request that came before the stop is answered; one that came after it is not."""
    app = FastAPI()
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    @app.get("/")
    async def answer() -> str:
        is_asked.set()
        await may_answer.wait()
        return "finished"

    listener = bind("127.0.0.1", 0)
    url = "http://{}:{}/".format(*listener.getsockname())
    server = WebServer(app, listener)
    await server.start()
    async with httpx.AsyncClient() as client:
        request = asyncio.create_task(client.get(url))
        await is_asked.wait()
        stop = asyncio.create_task(server.stop())
        async with asyncio.timeout(DEADLINE_S):
            while listener.fileno() != -1:  # noqa: ASYNC110 - a socket tells nobody that it is closed
                await asyncio.sleep(0.01)
        with pytest.raises(httpx.ConnectError):
            await client.get(url)
        may_answer.set()
        assert (await request).json() == "finished"
        await stop


async def test_stop_cancels_what_does_not_finish():
    """A request that would hold up the stop is cancelled after its grace."""
    app = FastAPI()
    is_asked, is_cancelled = asyncio.Event(), asyncio.Event()

    @app.get("/")
    async def answer() -> None:
        is_asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            is_cancelled.set()
            raise

    listener = bind("127.0.0.1", 0)
    url = "http://{}:{}/".format(*listener.getsockname())
    server = WebServer(app, listener)
    await server.start()
    async with httpx.AsyncClient() as client:
        request = asyncio.create_task(client.get(url))
        await is_asked.wait()
        async with asyncio.timeout(DEADLINE_S):
            await server.stop()
        assert is_cancelled.is_set()
        with pytest.raises(httpx.HTTPError):
            (await request).raise_for_status()
