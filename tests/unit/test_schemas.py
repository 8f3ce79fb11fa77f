"""The package that producers take: what `UsageEvent` accepts from Python, and what it gives to a Kafka client."""

import ast
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pydantic
import pytest
from factories import CODE, USER, KafkaRecord, decode_one
from hypothesis import example, given
from hypothesis import strategies as st

import schemas
from schemas import Reason, UsageEvent
from worker.pipeline.usages import Usage

PACKAGE = Path(schemas.__file__).parent
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_usage_event_takes_objects_and_texts():
    """UUID objects and aware datetimes make the same event as their texts."""
    date = datetime(2026, 1, 31, 12, tzinfo=UTC)
    objects = UsageEvent(code_uuid=UUID(CODE), used_by_uuid=UUID(USER), date_used=date, event_id="a")
    texts = UsageEvent(code_uuid=CODE.upper(), used_by_uuid=USER.upper(), date_used="2026-01-31 12:00Z", event_id="a")
    assert objects == texts
    assert (objects.code_uuid, objects.used_by_uuid, objects.date_used) == (CODE, USER, date)


@pytest.mark.parametrize("given_code", [CODE, CODE.upper(), UUID(CODE)], ids=["text", "upper case", "object"])
def test_usage_event_key_is_the_code_in_lower_case(given_code):
    """The key is the code's 36 characters in lower case, as bytes."""
    assert UsageEvent(code_uuid=given_code, used_by_uuid=USER).key() == CODE.encode()


def test_usage_event_value_is_json_without_absent_fields():
    """The value is a UTF-8 JSON object that leaves out what is absent."""
    value = UsageEvent(code_uuid=CODE, used_by_uuid=USER).value()
    assert json.loads(value) == {"code_uuid": CODE, "used_by_uuid": USER}
    whole = json.loads(
        UsageEvent(code_uuid=CODE, used_by_uuid=USER, date_used="2026-01-31T12:00+02:00", event_id="\u00e9").value()
    )
    assert datetime.fromisoformat(whole.pop("date_used")) == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert whole == {"code_uuid": CODE, "used_by_uuid": USER, "event_id": "\u00e9"}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"code_uuid": None}, id="null code"),
        pytest.param({"code_uuid": "{" + CODE + "}"}, id="code in braces"),
        pytest.param({"code_uuid": CODE.replace("-", "")}, id="code without hyphens"),
        pytest.param({"code_uuid": CODE.encode()}, id="code as bytes"),
        pytest.param({"code_uuid": UUID(CODE).int}, id="code as number"),
        pytest.param({"used_by_uuid": CODE + "\n"}, id="user with newline"),
        pytest.param({"date_used": datetime(2026, 1, 31)}, id="naive datetime"),  # noqa: DTZ001 - what is refused
        pytest.param({"date_used": datetime(2026, 1, 31, tzinfo=UTC).date()}, id="date"),
        pytest.param({"date_used": 1_769_860_800}, id="number"),
        pytest.param({"date_used": "2026-01-31T12:00"}, id="text without offset"),
        pytest.param({"date_used": "1769860800"}, id="numeric text"),
        pytest.param({"event_id": ""}, id="empty event id"),
        pytest.param({"event_id": "a" * 256}, id="long event id"),
        pytest.param({"event_id": "a\0"}, id="event id with NUL"),
        pytest.param({"event_id": 5}, id="event id as number"),
        pytest.param({"event_id": "\ud800"}, id="event id with a lone surrogate"),
    ],
)
def test_usage_event_refuses_what_the_worker_would_reject(fields):
    """A producer learns of a bad field when it makes the event, not from the dead-letter topic."""
    with pytest.raises(pydantic.ValidationError):
        UsageEvent(**{"code_uuid": CODE, "used_by_uuid": USER, **fields})


def test_usage_event_is_frozen():
    """An event does not change once it is made."""
    event = UsageEvent(code_uuid=CODE, used_by_uuid=USER)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        event.code_uuid = USER


offsets = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
dates = st.datetimes(
    datetime(1970, 1, 2, tzinfo=UTC).replace(tzinfo=None), datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
)


@given(
    code=st.uuids(),
    user=st.uuids().map(str) | st.uuids(),
    date=st.none() | st.builds(lambda date, offset: date.replace(tzinfo=offset), dates, offsets),
    event_id=st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=255),
)
# Liberia's time until 1972
@example(UUID(CODE), USER, datetime(1971, 1, 1, tzinfo=timezone(-timedelta(minutes=44, seconds=30))), None)
def test_usage_event_value_decodes_to_the_same_usage(code, user, date, event_id):
    """What a producer publishes is what the worker stores: code, user, the moment to the microsecond, event id."""
    event = UsageEvent(code_uuid=code, used_by_uuid=user, date_used=date, event_id=event_id)
    record = KafkaRecord(event.value(), timestamp=1_000_000, key=event.key())
    taken = decode_one(record)
    assert isinstance(taken, Usage), taken
    assert (taken.code, taken.user) == (code.bytes, UUID(str(user)).bytes)
    moment = UNIX_EPOCH + timedelta(microseconds=taken.date_us)
    assert moment == (UNIX_EPOCH + timedelta(seconds=1000) if date is None else date)
    assert UsageEvent.model_validate_json(event.value()).event_id == event_id


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_schemas_import_only_pydantic(path):
    """A module of `schemas` imports the standard library, pydantic and its own package, nothing else."""
    allowed = {"pydantic", "pydantic_core", "schemas", *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module.split(".")[0] in allowed


def test_schemas_load_nothing_of_the_worker():
    """Importing `schemas` loads neither the worker nor what only the worker needs."""
    unwanted = ["worker", "psycopg", "faust", "aiokafka", "pydantic_settings", "fastapi"]
    script = f"import sys, schemas; print([name for name in {unwanted!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "[]\n"


def test_schemas_export_what_they_say():
    """Every name in `__all__` is there, and they are sorted."""
    assert schemas.__all__ == sorted(schemas.__all__)
    for name in schemas.__all__:
        assert hasattr(schemas, name)


def test_reasons_are_those_of_the_contract():
    """The enum has exactly the reasons that the contract lists."""
    assert {reason.value for reason in Reason} == {
        "empty",
        "too_large",
        "not_json",
        "not_an_object",
        "missing_field",
        "invalid_uuid",
        "invalid_date",
        "date_in_future",
        "date_too_old",
        "invalid_event_id",
        "refused_by_database",
        "unreadable",
    }
