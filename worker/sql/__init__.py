"""
Every SQL statement of the worker, by name.

A `.sql` file here is a sequence of statements, each under `-- name -- purpose`; no statement lives in a `.py` file.
"""

import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

_HEADING: Final = re.compile(r"^-- (?P<name>\w+) -- .+$", re.MULTILINE)


def _read(file_name: str) -> dict[str, bytes]:
    text = files(__name__).joinpath(file_name).read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return {
        heading["name"]: text[heading.end() : end].strip().removesuffix(";").encode()
        for heading, end in zip(headings, ends, strict=True)
    }


def _read_all(file_names: Iterable[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file_name in file_names:
        statements = _read(file_name)
        if twice := found.keys() & statements.keys():
            raise ValueError(f"{file_name}: statements {sorted(twice)} have names that another file has already")
        found |= statements
    return found


_FILES: Final = ("storing.sql", "reading.sql", "checking.sql", "mending.sql", "rejections.sql", "workers.sql")

queries: Final = _read_all(_FILES)
"""Statement by name: what psycopg's `execute` and `copy` take."""
