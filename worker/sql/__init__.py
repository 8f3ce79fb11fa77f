"""
Every SQL statement of the worker, by name.

A `.sql` file here is a sequence of statements, each under `-- name -- purpose`; no statement lives in a `.py` file.
"""

import re
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


queries: Final = _read("storing.sql") | _read("reading.sql") | _read("checking.sql") | _read("mending.sql")
"""Statement by name: what psycopg's `execute` and `copy` take."""
