"""Files of usage events: what is read from them, and how a bad line is named."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from factories import CODE, NOW_S, USER, event_value, new_decoder
from hypothesis import given
from hypothesis import strategies as st

from schemas import Reason, UsageEvent
from worker.errors import PublishInterruptedError, SettingsError
from worker.publishing.files import BadLine, Event, FileFormat, check, open_input, read_events

NDJSON, CSV = FileFormat.NDJSON, FileFormat.CSV
HEADER = b"code_uuid,used_by_uuid,date_used,event_id\n"
ROW = f"{CODE},{USER},,\n".encode()
COLUMNS = ["code_uuid", "used_by_uuid", "date_used", "event_id"]

events = st.builds(
    UsageEvent,
    code_uuid=st.uuids(),
    used_by_uuid=st.uuids(),
    date_used=st.none() | st.datetimes(datetime(1970, 1, 2), datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
    event_id=st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=255),
)


def read(content: bytes, file_format: FileFormat, **options: int) -> list[Event | BadLine]:
    return list(read_events(io.BytesIO(content), file_format, new_decoder(), **options))


def bad_lines(content: bytes, file_format: FileFormat) -> dict[int, str]:
    return {found.line: found.detail for found in read(content, file_format) if isinstance(found, BadLine)}


def read_back(found: list[Event | BadLine]) -> list[UsageEvent]:
    assert all(isinstance(event, Event) for event in found), found
    back = [UsageEvent.model_validate_json(event.value) for event in found]
    assert [event.code.hex() for event in found] == [event.code_uuid.replace("-", "") for event in back]
    return back


@given(st.lists(events), st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans())
def test_events_written_as_ndjson_come_back_equal(written, ending, has_last_ending):
    """Any events written as NDJSON, with any line ending and blank lines, are read as they were."""
    content = ending.join(event.value() for event in written) + (ending if has_last_ending else b"")
    assert read_back(read(content, NDJSON)) == written


@given(st.lists(events), st.permutations(COLUMNS), st.booleans())
def test_events_written_as_csv_come_back_equal(written, columns, has_bom):
    """Any events written as CSV, their columns in any order, are read as they were."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(json.loads(event.value()) for event in written)
    content = text.getvalue().encode("utf-8-sig" if has_bom else "utf-8")
    assert read_back(read(content, CSV)) == written


@given(st.binary(max_size=300), st.sampled_from([b"", HEADER, HEADER + ROW]))
def test_whatever_a_file_holds_each_line_is_an_event_or_named(noise, start):
    """No content makes reading fail, and what is found comes in rising order of lines."""
    for file_format in FileFormat:
        lines = [found.line for found in read(start + noise, file_format)]
        assert lines == sorted(set(lines))


def test_ndjson_values_are_the_lines_themselves():
    """A line is published byte for byte, fields that nobody knows included."""
    value = event_value(channel="shop", note="\u00fc")
    assert [found.value for found in read(b"  " + value + b"\r\n", NDJSON)] == [value]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", Reason.NOT_JSON),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b"\xff", Reason.NOT_JSON),
        (b"{}", Reason.MISSING_FIELD),
        (event_value(code_uuid="x"), Reason.INVALID_UUID),
        (event_value(date_used="2026-01-31"), Reason.INVALID_DATE),
        (event_value(date_used="1969-12-31T23:59:59Z"), Reason.DATE_TOO_OLD),
        (event_value(date_used=datetime.fromtimestamp(NOW_S + 301, UTC).isoformat()), Reason.DATE_IN_FUTURE),
        (event_value(event_id="a\0"), Reason.INVALID_EVENT_ID),
        (event_value(x="y" * 70_000), Reason.TOO_LARGE),
    ],
)
def test_ndjson_line_that_a_worker_would_reject_is_named_with_its_reason(value, reason):
    """Each kind of reject is found, on its line, and its neighbours are events."""
    found = read(event_value() + b"\n\n" + value + b"\n" + event_value(), NDJSON)
    assert [type(item) for item in found] == [Event, BadLine, Event]
    assert [item.line for item in found] == [1, 3, 4]
    assert found[1].detail.endswith(f"({reason})")


@pytest.mark.parametrize("size", [65_536, 65_537, 65_540, 65_541, 200_000])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_size_of_a_line_is_that_of_its_value(size, ending):
    """A value of 64 KiB is taken, a larger one is refused with its exact size, whatever ends the line."""
    value = event_value(x="")[:-2]
    value += b"y" * (size - len(value) - 2) + b'"}'
    assert len(value) == size
    found = read(value + ending + event_value() if ending else value, NDJSON)
    if size <= 65_536:
        assert isinstance(found[0], Event)
    else:
        assert found[0] == BadLine(1, f"the value has {size} bytes; at most 65536 are taken (too_large)")
    assert len(found) == (2 if ending else 1)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        pytest.param(b"code_uuid,used_by_uuid,event-id\n", 1, "a column 'event-id'", id="misspelt column"),
        pytest.param(b"code_uuid;used_by_uuid\n", 1, "a column 'code_uuid;used_by_uuid'", id="semicolons"),
        pytest.param(b"code_uuid\n", 1, "lacks the column 'used_by_uuid'", id="missing column"),
        pytest.param(b"code_uuid,used_by_uuid,code_uuid\n", 1, "'code_uuid' twice", id="repeated column"),
        pytest.param(HEADER + ROW + b"a,b\n" + ROW, 3, "2 cells under 4 columns", id="short row"),
        pytest.param(HEADER + ROW + b"a,b,c,d,e\n" + ROW, 3, "5 cells under 4 columns", id="long row"),
        pytest.param(HEADER + ROW + b'"a"b,,,\n' + ROW, 3, "not CSV", id="text behind a quote"),
        pytest.param(HEADER + ROW + f'{CODE},{USER},,"a\n'.encode(), 3, "not CSV", id="quote without end"),
        pytest.param(HEADER + ROW + b"a" * 70_000 + b"\n" + ROW, 3, "(too_large)", id="long line"),
        pytest.param(HEADER + ROW + f"{CODE},{USER},,\xff\n".encode("latin-1") + ROW, 3, "(not_json)", id="latin-1"),
        pytest.param(HEADER + ROW + f"{CODE},,,\n".encode(), 3, "used_by_uuid is missing", id="empty cell"),
        pytest.param(HEADER + ROW + f"{CODE},{USER},2026,\n".encode(), 3, "(invalid_date)", id="bad date"),
    ],
)
def test_csv_line_that_is_no_event_is_named(content, line, words):
    """What is wrong with a header or a row is said with its line, and no other line is blamed."""
    (found,) = bad_lines(content, CSV).items()
    assert found[0] == line
    assert words in found[1]


def test_csv_rows_are_named_by_the_line_they_begin_on():
    """Cells may hold line breaks: a row behind such a one is still named by its own line."""
    content = HEADER + f'{CODE},{USER},,"a\nb"\n'.encode() + b"x,,,\n"
    assert list(bad_lines(content, CSV)) == [4]


@pytest.mark.parametrize(("file_format", "header"), [(NDJSON, b""), (CSV, HEADER)])
def test_from_line_leaves_out_what_is_before(file_format, header):
    """Reading goes on at a line; a CSV's header counts as a line and is read all the same."""
    row = ROW if file_format is CSV else event_value() + b"\n"
    first = 2 if header else 1
    found = read(header + row * 5, file_format, from_line=first + 3)
    assert [event.line for event in found] == [first + 3, first + 4]


def test_check_keeps_only_the_first_bad_lines():
    """Events and bad lines are counted, and as many bad lines are kept as asked for."""
    found = [Event(1, b"", b""), *(BadLine(line, "bad") for line in range(2, 40))]
    checked = check(found, bad_max=20)
    assert (checked.event_count, checked.bad_count) == (1, 38)
    assert [bad.line for bad in checked.first_bad] == list(range(2, 22))


def test_open_input_reads_standard_input_twice():
    """What can be read only once is kept, so that it can be read again."""
    with open_input(None, io.BytesIO(event_value())) as file:
        for _ in range(2):
            assert len(list(read_events(file, NDJSON, new_decoder()))) == 1


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_open_input_names_a_file_that_cannot_be_read(tmp_path: Path, name: str):
    """A missing file and a folder are errors that name them."""
    with pytest.raises(SettingsError, match="cannot be read: "):
        open_input(tmp_path / name, io.BytesIO())


def test_interruption_says_how_to_go_on():
    """The message names the number acknowledged, the line to go on with, and what could count again."""
    error = PublishInterruptedError("interrupted", acknowledged_count=7, next_line=8)
    assert "7 events were acknowledged, among them all before line 8" in str(error)
    assert "--from-line 8" in str(error)
    assert "without event_id would count again" in str(error)


def test_reading_a_file_of_one_endless_line_takes_constant_memory(tmp_path: Path):
    """A line of many megabytes is passed over in parts."""
    path = tmp_path / "endless.ndjson"
    with path.open("wb") as file:
        for _ in range(16):
            file.write(b"x" * 1024 * 1024)
        file.write(b"\n" + event_value())

    class Watched(io.BufferedReader):
        largest = 0

        def readline(self, size=-1, /):
            line = super().readline(size)
            Watched.largest = max(Watched.largest, len(line))
            return line

    with Watched(path.open("rb", buffering=0)) as file:
        found = list(read_events(file, NDJSON, new_decoder()))
    assert found[0] == BadLine(1, f"the value has {16 * 1024 * 1024} bytes; at most 65536 are taken (too_large)")
    assert isinstance(found[1], Event)
    assert Watched.largest < 70_000
