"""The statements with which a run is watched and checked, one file each."""

from importlib.resources import files
from typing import Any

import psycopg


def statement(name: str) -> bytes:
    """Return the statement of the file `name`.sql, as psycopg's `execute` takes it."""
    return files(__name__).joinpath(f"{name}.sql").read_bytes()


def fetch_row(conn: psycopg.Connection, name: str, **parameters: object) -> tuple[Any, ...]:
    """Return the first row that a statement gives; an empty one when there is none."""
    row = conn.execute(statement(name), parameters or None).fetchone()
    return row or ()
