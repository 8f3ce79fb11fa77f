"""The API held against its own OpenAPI document, by schemathesis over a real database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import schemathesis
from api_process import api_process
from fix_web import PATIENCE_S, Row, Rows, new_uuid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from schemas.stats import CODE_EXAMPLE, USAGE_EXAMPLE, USER_EXAMPLE
from worker.web.cursor import Position, write_cursor

# a cursor has a digest, which nobody but the API writes
schemathesis.openapi.format(
    "cursor",
    st.builds(
        lambda date, uuid: write_cursor(Position(date, str(uuid))),
        st.datetimes(timezones=st.just(UTC)),
        st.uuids(),
    ),
)
load_all_checks()


@pytest.fixture
def api_schema(database_url: str, rows: Rows) -> Iterator[schemathesis.BaseSchema]:
    """The document of an application that is served over a code with two pages of usages."""
    date = datetime(2026, 1, 31, 12, tzinfo=UTC)
    rows.store(
        Row(USAGE_EXAMPLE, CODE_EXAMPLE, USER_EXAMPLE, date, first_use=True),
        *[Row(new_uuid(), CODE_EXAMPLE, USER_EXAMPLE, date - timedelta(days=n), first_use=False) for n in range(60)],
    )
    # hypothesis refuses data if anything in its process takes a random number meanwhile, as a pool does that connects
    with api_process(database_url) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json", timeout=PATIENCE_S)


@pytest.mark.parametrize("mode", GenerationMode)
def test_api_keeps_to_its_document(api_schema, mode):
    """Whatever is sent, right or wrong, is answered as the document says, by every call."""
    names = []
    for found in api_schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            # more than a schema can say: that `to` is not before `from`, how many buckets lie between, which
            # date_used of an event the calendar has and the present allows
            is_judged_further = {"from", "to"} & set(case.query or {}) or case.method == "POST"
            case.call_and_validate(excluded_checks=[positive_data_acceptance] if is_judged_further else [])

        try:
            check()
        except Unsatisfiable:
            # a call without parameters cannot be asked wrongly
            assert mode is GenerationMode.NEGATIVE
            assert not list(operation.iter_parameters())
        names.append(operation.label)
    assert len(names) >= 13
