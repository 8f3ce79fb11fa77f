"""Usage events in files, as NDJSON or CSV: read line by line, in constant memory however long a file or a line is."""

import csv
import shutil
import stat
import tempfile
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self

from schemas import UsageEvent
from schemas.usage import VALUE_MAX_BYTES
from worker.errors import RecordRejectedError, SettingsError
from worker.pipeline.decode import Decoder
from worker.pipeline.explain import too_large
from worker.publishing.draft import judge, to_value

_LINE_MAX_BYTES: Final = VALUE_MAX_BYTES + len(BOM_UTF8) + len(b"\r\n")
_COLUMNS: Final = tuple(UsageEvent.model_fields)
_REQUIRED: Final = tuple(name for name, field in UsageEvent.model_fields.items() if field.is_required())


class FileFormat(StrEnum):
    """How a file holds events: a JSON object on each line, or comma-separated cells under a header line."""

    NDJSON = "ndjson"
    CSV = "csv"


FORMAT_OF_ENDING: Final = {".ndjson": FileFormat.NDJSON, ".jsonl": FileFormat.NDJSON, ".csv": FileFormat.CSV}


class _Draft(NamedTuple):
    """A value not judged yet, and the line on which it begins, counted from 1."""

    line: int
    value: bytes


class Event(NamedTuple):
    """An event that a worker will take; `code` is 16 bytes."""

    line: int
    value: bytes
    code: bytes


class BadLine(NamedTuple):
    """A line that is no event, and why."""

    line: int
    detail: str


class Checked(NamedTuple):
    """What a file holds: the number of its events, the number of its bad lines, and the first of those."""

    event_count: int
    bad_count: int
    first_bad: list[BadLine]


def open_input(path: Path | None, standard_input: BinaryIO) -> BinaryIO:
    """
    Open a file that can be read twice: standard input (for None) and pipes are copied to a temporary file first.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        if path is None:
            return _spool(standard_input)
        file = path.open("rb")
        if stat.S_ISREG(path.stat().st_mode):
            return file
        with file:
            return _spool(file)
    except OSError as error:
        raise SettingsError(f"{path or 'standard input'} cannot be read: {error.strerror}") from error


def read_events(
    file: BinaryIO, file_format: FileFormat, decoder: Decoder, *, from_line: int = 1
) -> Iterator[Event | BadLine]:
    """
    Read the events of a file from its start on, each judged as a worker would; blank lines are skipped.

    Args:
        from_line: events that begin on an earlier line are left out; a header is read all the same.
    """
    file.seek(0)
    lines = _Lines(file)
    for found in _read_csv(lines) if file_format is FileFormat.CSV else _read_ndjson(lines):
        if isinstance(found, BadLine):
            yield found
        elif found.line >= from_line:
            try:
                yield Event(found.line, found.value, judge(decoder, found.value).code)
            except RecordRejectedError as error:
                yield _to_bad_line(found.line, error)


def check(events: Iterable[Event | BadLine], *, bad_max: int) -> Checked:
    """Count the events of a file and its bad lines, of which the first `bad_max` are kept."""
    event_count = bad_count = 0
    first_bad: list[BadLine] = []
    for found in events:
        if isinstance(found, Event):
            event_count += 1
            continue
        bad_count += 1
        if len(first_bad) < bad_max:
            first_bad.append(found)
    return Checked(event_count, bad_count, first_bad)


class _Lines:
    """
    The lines of a file, with the number of the last one in `number`.

    One that is longer than any event is passed over unread: it raises RecordRejectedError, and the next one follows.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self._file = file

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        line = self._file.readline(_LINE_MAX_BYTES)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LINE_MAX_BYTES and not line.endswith(b"\n"):
            raise too_large(len(line.rstrip(b"\r")) + self._pass_over())
        # what some editors and spreadsheets begin a file with
        return line.removeprefix(BOM_UTF8) if self.number == 1 else line

    def _pass_over(self) -> int:
        passed_bytes = 0
        while part := self._file.readline(_LINE_MAX_BYTES):
            passed_bytes += len(part.rstrip(b"\r\n"))
            if part.endswith(b"\n"):
                break
        return passed_bytes


def _read_ndjson(lines: _Lines) -> Iterator[_Draft | BadLine]:
    while True:
        try:
            value = next(lines).strip()
        except StopIteration:
            return
        except RecordRejectedError as error:
            yield _to_bad_line(lines.number, error)
        else:
            if value:
                yield _Draft(lines.number, value)


def _read_csv(lines: _Lines) -> Iterator[_Draft | BadLine]:
    # a cell may hold line breaks, so a row begins on a line and ends on another
    rows = csv.reader(map(_to_text, lines), strict=True)
    columns: list[str] | None = None
    while True:
        line = lines.number + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except RecordRejectedError as error:
            yield _to_bad_line(lines.number, error)
        except csv.Error as error:
            yield BadLine(line, f"not CSV: {error}")
        else:
            if not row:
                continue
            if columns is None:
                columns = row
                if problem := _explain_header(columns):
                    # no cell below it can be understood
                    yield BadLine(line, problem)
                    return
            elif len(row) != len(columns):
                yield BadLine(line, f"{len(row)} cells under {len(columns)} columns")
            else:
                yield _Draft(line, to_value({name: cell for name, cell in zip(columns, row, strict=True) if cell}))


def _explain_header(columns: list[str]) -> str | None:
    # an ignored column could be a misspelt event_id, without which a repeated event counts twice
    if unknown := [name for name in columns if name not in _COLUMNS]:
        return f"the header has a column {unknown[0][:60]!r}; the columns are {','.join(_COLUMNS)}, in any order"
    if missing := [name for name in _REQUIRED if name not in columns]:
        return f"the header lacks the column {missing[0]!r}"
    if repeated := [name for name in columns if columns.count(name) > 1]:
        return f"the header has the column {repeated[0]!r} twice"
    return None


def _to_text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _to_bad_line(line: int, error: RecordRejectedError) -> BadLine:
    return BadLine(line, f"{error.detail} ({error.reason})")


def _spool(source: BinaryIO) -> BinaryIO:
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes what it was given
    shutil.copyfileobj(source, spool)
    return spool
