"""
Every setting of the worker: read from the environment (prefix `REFERRALS_`), checked before anything connects.

A field's description is the sentence that docs/settings.md shows for it.
"""

import re
import socket
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.errors import SettingsError

PREFIX: Final = "REFERRALS_"


def _check_servers(value: str) -> str:
    # neither here nor below does a message repeat a value that may hold a password
    servers = [server.strip() for server in value.split(",")]
    for number, server in enumerate(servers, 1):
        host, _, port = server.rpartition(":")
        if "://" in server:
            raise ValueError(f"server {number} has a scheme, {server.split('://')[0]!r}; give host:port alone")
        if not host or "@" in host or not _is_port(port):
            raise ValueError(f"server {number} is not host:port, as in localhost:9092")
    return ",".join(servers)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _check_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", value) or value in {".", ".."}:
        raise ValueError(f"{value!r} is not a name that Kafka takes: 1 to 200 of letters, digits, '.', '_' and '-'")
    return value


def _check_database_url(value: str) -> str:
    form = "postgresql://user:password@host:port/database"
    scheme, separator, _ = value.partition("://")
    if not separator or scheme not in {"postgresql", "postgres"}:
        said = f"the scheme is {scheme!r}" if separator and scheme.isalnum() else "it has no scheme"
        raise ValueError(f"{said}; use {form}")
    try:
        parts = conninfo_to_dict(value)
    except ProgrammingError:
        # libpq's words repeat what they complain of
        raise ValueError(
            f"not a URL of the form {form}; special characters in user and password must be percent-encoded"
        ) from None
    if not all(_is_port(port) for port in str(parts.get("port", "")).split(",") if port):
        raise ValueError("the port is not a number from 1 to 65535")
    return value


def _check_replication(value: int) -> int:
    if value == 0:
        raise ValueError("a topic has at least 1 replica; -1 is the broker's default")
    return value


def _check_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{16,200}", value.get_secret_value()):
        raise ValueError(
            "not a token of 16 to 200 letters, digits and signs of ASCII without spaces; "
            "`openssl rand -hex 24` makes one"
        )
    return value


Token = Annotated[SecretStr, AfterValidator(_check_token)]


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is this machine's own and no other reaches it; brackets around IPv6 are fine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class BrokerSettings(BaseSettings):
    """What publishing needs; `load()` turns what is wrong into one clear error."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    bootstrap_servers: Annotated[str, AfterValidator(_check_servers)] = Field(
        "localhost:9092", description="Kafka brokers to ask first, host:port, separated by commas"
    )
    usages_topic: Annotated[str, AfterValidator(_check_name)] = Field(
        "referral-usages", description="topic of usage events"
    )
    future_max_s: float = Field(
        300, ge=0, le=86_400, description="seconds that date_used may be ahead of the worker's clock"
    )

    @classmethod
    def load(cls) -> Self:
        """
        Read the settings from the environment.

        Raises:
            SettingsError: one line for each setting that is missing or wrong, naming it and the remedy.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("\n".join(_explain(error, cls))) from error


class Settings(BrokerSettings):
    """What an operator can set of a worker."""

    database_url: Annotated[str, AfterValidator(_check_database_url)] = Field(
        repr=False,  # it may hold a password
        description="PostgreSQL, as postgresql://user:password@host:port/database; required",
    )
    app_id: Annotated[str, AfterValidator(_check_name)] = Field(
        "referral-usage-worker",
        description="consumer group and prefix of Faust's own topics; all workers of one system share it",
    )
    rejected_topic: Annotated[str, AfterValidator(_check_name)] = Field(
        "referral-usages-rejected", description="dead-letter topic"
    )
    partitions: int = Field(8, ge=1, le=4096, description="partitions of the usages topic when the worker creates it")
    replication_factor: Annotated[int, AfterValidator(_check_replication)] = Field(
        -1, ge=-1, le=32, description="replicas of the topics that the worker creates; -1 is the broker's default"
    )
    start_timeout_s: float = Field(
        60, gt=0, le=3600, description="seconds to wait for Kafka and PostgreSQL at start before giving up"
    )
    stop_timeout_s: float = Field(
        20, gt=0, le=600, description="seconds that a stop may take to finish the runs in flight"
    )
    run_max_records: int = Field(20_000, ge=1, le=50_000, description="most records stored in one transaction")
    filter_max_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        le=64 * 1024**3,
        description="memory in bytes for the filters that tell first uses, if all partitions were this worker's; "
        "what does not fit is looked up in PostgreSQL",
    )
    database_connections: int = Field(
        4, ge=1, le=64, description="connections that store runs, so this many partitions are stored at once"
    )
    reader_connections: int = Field(4, ge=1, le=64, description="connections that answer HTTP requests")
    connect_timeout_s: float = Field(5, gt=0, le=300, description="seconds to wait for a database connection")
    transaction_timeout_s: float = Field(
        30, gt=0, le=600, description="seconds that storing a run may take before its connection is closed"
    )
    read_timeout_s: float = Field(5, gt=0, le=300, description="seconds that a query for an HTTP request may take")
    retry_max_s: float = Field(5, gt=0, le=300, description="longest pause in seconds between two tries of a run")
    stall_timeout_s: float = Field(
        60,
        gt=0,
        le=3600,
        description="seconds that a partition may stand still, with events to read and no outage, before /livez fails",
    )
    session_timeout_s: float = Field(
        10, ge=1, le=300, description="seconds without a heartbeat after which Kafka gives the partitions to others"
    )
    web_host: str = Field("127.0.0.1", min_length=1, description="address to serve HTTP on")
    web_port: int = Field(8080, ge=1, le=65535, description="port to serve HTTP on")
    web_url: str | None = Field(
        None, pattern="^https?://", description="URL under which others reach this worker; default: host and port"
    )
    web_token: Token | None = Field(
        None, description="token that reads, 16 characters at least; with any token set, everybody needs one"
    )
    web_admin_token: Token | None = Field(
        None, description="token that reads, publishes and retries; with any token set, changes need this one"
    )
    web_anonymous: bool = Field(
        False,
        description="reading needs no token, on any address; changing needs one when REFERRALS_WEB_ADMIN_TOKEN is set",
    )
    data_dir: Path = Field(
        Path(tempfile.gettempdir()) / "referral-usage-worker",
        description="folder for Faust's files; nothing in it is needed again",
    )
    log_format: str = Field(
        "text", pattern="^(text|json)$", description="log lines for people (text) or machines (json)"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level to log")

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        if self.usages_topic == self.rejected_topic:
            raise ValueError(f"{PREFIX}USAGES_TOPIC and {PREFIX}REJECTED_TOPIC are both {self.usages_topic!r}")
        has_token = self.web_token is not None or self.web_admin_token is not None
        if not is_loopback(self.web_host) and not has_token and not self.web_anonymous:
            raise ValueError(
                f"{PREFIX}WEB_HOST is {self.web_host!r}, which others reach, and no token guards it: "
                f"set {PREFIX}WEB_TOKEN and {PREFIX}WEB_ADMIN_TOKEN, or {PREFIX}WEB_ANONYMOUS to true for everybody"
            )
        if self.web_anonymous and self.web_token is not None:
            raise ValueError(f"{PREFIX}WEB_ANONYMOUS lets everybody read, and {PREFIX}WEB_TOKEN does not: unset one")
        if has_token and self.web_token == self.web_admin_token:
            raise ValueError(f"{PREFIX}WEB_TOKEN and {PREFIX}WEB_ADMIN_TOKEN are the same: whoever reads could change")
        return self

    @property
    def url(self) -> str:
        """The URL under which this worker is shown; of one that serves on all addresses, by its machine's name."""
        host = socket.gethostname() if self.web_host in {"0.0.0.0", "::"} else self.web_host  # noqa: S104 - compared
        host = f"[{host}]" if ":" in host else host
        return self.web_url or f"http://{host}:{self.web_port}"


def _explain(error: ValidationError, settings: type[BaseSettings]) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        name = PREFIX + str(problem["loc"][0]).upper() if problem["loc"] else "settings"
        if problem["type"] == "missing":
            field = settings.model_fields[str(problem["loc"][0])]
            lines.append(f"{name} is not set: {field.description}")
        else:
            lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}".strip())
    return lines
