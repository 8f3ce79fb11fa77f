"""`POST /api/v1/usages` without a worker: what is taken, what is refused, and what is sent."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from factories import CODE, KafkaRecord, event_value, new_decoder
from fix_web import HandTopic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import Reason
from worker.errors import BrokerUnavailableError
from worker.pipeline.reroute import partition_of
from worker.pipeline.usages import Usage

URL = "/api/v1/usages"
JSON = {"content-type": "application/json"}


async def post(web: httpx.AsyncClient, value: bytes, headers: dict[str, str] = JSON) -> httpx.Response:
    return await web.post(URL, content=value, headers=headers)


def stored(value: bytes, offset: int = 0) -> Usage:
    """Return what a worker would store of a value."""
    usages, rejects = new_decoder(now_s=datetime.now(UTC).timestamp()).decode([KafkaRecord(value, offset)])
    assert not rejects
    return usages[0]


@pytest.mark.parametrize("event_id", ["order 4711", "0190A1B2-7C3D-7E4F-8A5B-6C7D8E9F0A1B", "\u00fc\"'\\", "a" * 255])
async def test_event_is_sent_as_it_came(web, topic: HandTopic, event_id: str) -> None:
    """With an event_id the body is the value, byte for byte; key and partition are the code's."""
    body = event_value(code_uuid=CODE.upper(), event_id=event_id, channel="shop")
    answer = await post(web, body, {"content-type": "Application/JSON; charset=utf-8"})
    assert answer.status_code == 202
    (message,) = topic.messages
    assert (message.value, message.key, message.partition) == (body, CODE.encode(), partition_of(CODE, 8))
    assert answer.json() == {"uuid": str(UUID(bytes=stored(body).uuid)), "event_id": event_id}


@pytest.mark.parametrize("body", [event_value(), event_value(event_id=None), event_value(note="}") + b" \r\n"])
async def test_event_without_event_id_gets_one(web, topic: HandTopic, body: bytes) -> None:
    """Without an event_id one is made: the uuid is the answer's wherever the record lies, the rest is as it came."""
    answer = await post(web, body)
    assert answer.status_code == 202
    (message,) = topic.messages
    sent, given_ = json.loads(message.value), json.loads(body)
    assert sent == {**given_, "event_id": answer.json()["event_id"]}
    assert {UUID(bytes=stored(message.value, offset).uuid) for offset in range(3)} == {UUID(answer.json()["uuid"])}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"{", Reason.NOT_JSON),
        (b"\xef\xbb\xbf{}", Reason.NOT_JSON),
        (b'{"a": "\xff"}', Reason.NOT_JSON),
        (b"[" * 60_000, Reason.NOT_JSON),
        (event_value()[:-1] + b"]", Reason.NOT_JSON),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"{}", Reason.MISSING_FIELD),
        (event_value(code_uuid="{" + CODE + "}"), Reason.INVALID_UUID),
        (event_value(date_used=1_700_000_000), Reason.INVALID_DATE),
        (event_value(date_used="1969-12-31T23:59:59Z"), Reason.DATE_TOO_OLD),
        (event_value(date_used=(datetime.now(UTC) + timedelta(days=1)).isoformat()), Reason.DATE_IN_FUTURE),
        (event_value(event_id="a\0"), Reason.INVALID_EVENT_ID),
        (event_value(event_id=5), Reason.INVALID_EVENT_ID),
        (event_value(x="y" * 65_536), Reason.TOO_LARGE),
        # large enough that the event_id to be made does not fit
        (event_value(x="y" * (65_530 - len(event_value(x="")))), Reason.TOO_LARGE),
    ],
)
async def test_event_that_workers_would_reject_is_refused(web, topic: HandTopic, body: bytes, reason: Reason) -> None:
    """Each kind of reject is answered 422 with its reason, and nothing is sent."""
    answer = await post(web, body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["reason"]) == (422, reason.value)
    assert problem["detail"]
    assert topic.messages == []


async def test_large_body_is_refused_before_it_is_read(web) -> None:
    """A body without an end is refused after little more than what an event may have."""
    parts_sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal parts_sent
        while True:
            parts_sent += 1
            assert parts_sent < 100, "the body is read on and on"
            yield b"x" * 4096

    answer = await web.post(URL, content=endless(), headers=JSON)
    assert (answer.status_code, answer.json()["reason"]) == (422, "too_large")


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
async def test_other_content_types_are_refused(web, topic: HandTopic, content_type: str | None) -> None:
    """What is not said to be JSON is answered 415, also what a form of another site could send."""
    answer = await post(web, event_value(), {} if content_type is None else {"content-type": content_type})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]
    assert topic.messages == []


async def test_event_that_kafka_does_not_acknowledge_can_be_sent_again(web, topic: HandTopic) -> None:
    """503 with Retry-After names the event_id; sent again with it, the event is the same usage."""
    topic.refusal = BrokerUnavailableError("broker.internal:9092 is not there")
    answer = await post(web, event_value())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    detail = answer.json()["detail"]
    assert "may have been published nevertheless" in detail
    assert "broker.internal" not in detail
    event_id = detail.split("event_id '")[1].split("'")[0]
    topic.refusal = None
    again = await post(web, event_value(event_id=event_id))
    assert again.json() == {"uuid": event_id, "event_id": event_id}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    body=st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
async def test_no_body_is_the_servers_fault(web, topic: HandTopic, body: bytes) -> None:
    """Whatever comes is refused with a reason that the contract knows."""
    answer = await post(web, body)
    assert answer.status_code == 422
    assert Reason(answer.json()["reason"])
    assert topic.messages == []


async def test_openapi_shows_an_event_that_is_taken(web) -> None:
    """The example of the API's description is a valid event of exactly the known fields."""
    document = (await web.get("/openapi.json")).json()
    content = document["paths"][URL]["post"]["requestBody"]["content"]["application/json"]
    assert content["example"].keys() == content["schema"]["properties"].keys()
    answer = await web.post(URL, json=content["example"])
    assert answer.status_code == 202
    assert answer.json()["event_id"] == content["example"]["event_id"]
    reasons = document["paths"][URL]["post"]["responses"]["422"]["content"]["application/problem+json"]["schema"][
        "properties"
    ]["reason"]["anyOf"][0]["enum"]
    assert set(reasons) == {reason.value for reason in Reason}
    assert content["example"]["code_uuid"] in (await web.get("/docs")).text
