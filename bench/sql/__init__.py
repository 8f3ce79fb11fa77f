"""The statements with which a run is watched and checked, one file each."""

from importlib.resources import files


def statement(name: str) -> bytes:
    """Return the statement of the file `name`.sql, as psycopg's `execute` takes it."""
    return files(__name__).joinpath(f"{name}.sql").read_bytes()
