"""Rejects over HTTP: every byte as it was, paging, counts, and publishing them again."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from schemas import Reason
from worker.errors import BrokerUnavailableError

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATH = "/api/v1/rejections"
HOSTILE = {
    "html": b"<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*7}}",
    "formula": b"=cmd|' /C calc'!A0",
    "lines": b"a\r\nSet-Cookie: a=b\r\n\r\nb",
    "NUL": b"\0\0",
    "terminal": b"\x1b[2J\x1b]0;owned\x07",
    "not utf-8": bytes(range(256)),
    "60 KiB": b"x" * 61_440,
    "null": None,
    "empty": b"",
}


async def get(web, path, **params):
    answer = await web.get(PATH + path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
async def test_reject_is_told_to_the_byte(web, rows, value):
    """Value, key and headers of any bytes come as base64 of just these bytes, in JSON that is nothing else."""
    headers = [("a\\x00b", value), ("<b>", None), ("", b"")]
    id_ = rows.reject(value, key=value, headers=headers, detail="<b>=1+1")
    answer = await web.get(f"{PATH}/{id_.upper()}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()

    def text(data):
        return None if data is None else base64.b64encode(data).decode()

    assert told == {
        "id": id_,
        "reason": "not_an_object",
        "detail": "<b>=1+1",
        "value_bytes": len(value or b""),
        "kafka_topic": "referral-usages",
        "kafka_partition": 3,
        "kafka_offset": 42,
        "kafka_timestamp": "2026-03-01T12:00:00Z",
        "rejected_at": "2026-03-01T12:00:00Z",
        "retried_at": None,
        "attempts": 0,
        "waiting": False,
        "value": text(value),
        "key": text(value),
        "headers": [{"name": name, "value": text(header)} for name, header in headers],
    }
    (listed,) = (await get(web, ""))["items"]
    assert listed.pop("preview") == text(value and value[:200])
    assert listed.items() <= told.items()


async def test_rejects_are_paged_latest_first(web, rows):
    """Pages join without a gap or a repeat, also where rejects of one moment are cut, and while others arrive."""
    times = [START + timedelta(seconds=number // 7) for number in range(40)]
    ids = [rows.reject(rejected_at=moment) for moment in times]
    expected = sorted(zip(times, map(UUID, ids), strict=True), reverse=True)
    seen, cursor = [], {}
    while cursor is not None:
        page = await get(web, "", limit=9, **cursor)
        seen += [item["id"] for item in page["items"]]
        rows.reject(rejected_at=START + timedelta(days=1))
        cursor = page["next_cursor"] and {"cursor": page["next_cursor"]}
    assert seen == [str(id_) for _, id_ in expected]


async def test_rejects_of_a_reason_are_theirs_alone(web, rows):
    """A reason's list and count agree with SQL; the counts add up to the total."""
    for number in range(30):
        rows.reject(reason=["not_json", "empty", "from_a_newer_worker"][number % 3 % (2 + number % 2)])
    counts = await get(web, "/reasons")
    by_reason = dict(rows.ask("select reason, count(*) from referral_rejections group by reason"))
    assert {item["reason"]: item["count"] for item in counts["items"]} == by_reason
    assert counts["total"] == 30
    items = (await get(web, "", reason="not_json", limit=1000))["items"]
    assert [item["reason"] for item in items] == ["not_json"] * by_reason["not_json"]


async def test_rejects_are_none_when_nothing_was_rejected(web):
    """Without rejects there is an empty page and a total of 0."""
    assert await get(web, "") == {"items": [], "next_cursor": None}
    assert await get(web, "/reasons") == {"total": 0, "items": []}


@pytest.mark.parametrize(
    "query", ["reason=loud", "limit=0", "limit=1001", "cursor=abc", "reasons=empty", "reason="], ids=str
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_rejects_refuse_a_parameter_that_is_wrong(web, rows, topic, method, query):
    """A misspelt filter must not publish more than was meant: it is told, and nothing is done."""
    rows.reject()
    answer = await web.request(method, f"{PATH}{'/retry' if method == 'POST' else ''}?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert topic.messages == []


async def test_reject_that_is_not_there_is_a_problem(web):
    """An id without a row is told with the two ways in which that comes about."""
    for answer in (await web.get(f"{PATH}/{uuid4()}"), await web.post(f"{PATH}/{uuid4()}/retry")):
        assert answer.status_code == 404
        assert "stored by now" in answer.json()["detail"]
    assert (await web.get(f"{PATH}/abc")).status_code == 422


async def test_retry_publishes_the_record_and_notes_it(web, rows, topic):
    """One reject is published with its bytes and its origin, and its row says so."""
    id_ = rows.reject(b"\xff\0", key=b"\0", headers=[("a", None)])
    answer = await web.post(f"{PATH}/{id_}/retry")
    assert (answer.status_code, answer.json()) == (202, {"id": id_, "attempt": 1})
    (message,) = topic.messages
    assert (message.topic, message.key, message.value) == ("referral-usages", b"\0", b"\xff\0")
    assert dict(message.headers) == {
        "a": None,
        "referrals-origin-topic": b"referral-usages",
        "referrals-origin-partition": b"3",
        "referrals-origin-offset": b"42",
        "referrals-origin-timestamp": b"1772366400000",
        "referrals-retry": b"1",
    }
    told = await get(web, f"/{id_}")
    assert (told["attempts"], told["waiting"]) == (1, True)
    assert told["retried_at"] > told["rejected_at"]


async def test_retry_of_a_reason_publishes_all_of_it(web, rows, topic):
    """All that match are published, 1,000 in a call, and the answer says where the next goes on."""
    for number in range(1_100):
        rows.reject(b"%d" % number, rejected_at=START + timedelta(seconds=number))
    rows.reject(None, reason="empty")
    first = (await web.post(f"{PATH}/retry?reason=not_an_object")).json()
    assert (first["retried"], first["too_large"]) == (1000, 0)
    second = await web.post(f"{PATH}/retry", params={"reason": "not_an_object", "cursor": first["next_cursor"]})
    assert second.status_code == 202
    assert second.json() == {"retried": 100, "too_large": 0, "next_cursor": None}
    assert sorted(int(message.value) for message in topic.messages) == list(range(1_100))
    assert rows.ask("select reason, attempts, count(*) from referral_rejections group by 1, 2 order by 1") == [
        ("empty", 0, 1),
        ("not_an_object", 1, 1_100),
    ]


async def test_retry_tells_what_is_too_large(web, rows, topic):
    """A value that Kafka would not take stays as it is: refused alone, counted among others."""
    id_ = rows.reject(b"x" * 1_000_000, reason="too_large")
    answer = await web.post(f"{PATH}/{id_}/retry")
    assert answer.status_code == 422
    assert "too large to be published again" in answer.json()["detail"]
    rows.reject()
    assert (await web.post(f"{PATH}/retry")).json() == {"retried": 1, "too_large": 1, "next_cursor": None}
    assert len(topic.messages) == 1
    assert (await get(web, f"/{id_}"))["attempts"] == 0


async def test_retry_says_when_kafka_is_away(web, rows, topic):
    """Without Kafka nothing is noted, and the caller is told when to try again."""
    id_ = rows.reject()
    topic.refusal = BrokerUnavailableError("not now")
    for path in (f"/{id_}/retry", "/retry"):
        answer = await web.post(PATH + path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert "Kafka" in answer.json()["detail"]
    assert (await get(web, f"/{id_}"))["attempts"] == 0


async def test_rejects_are_told_by_their_indexes(rows):
    """Neither a page nor the counts look at every reject once there are many."""
    rows.conn.execute(
        "insert into referral_rejections (id, reason, detail, value_bytes, headers, kafka_topic, kafka_partition,"
        " kafka_offset, rejected_at) select gen_random_uuid(), (array['not_json', 'empty'])[1 + (n % 50 = 0)::int], '',"
        " 0, '[]', 't', 0, n, now() - n * interval '1 s' from generate_series(1, 20000) as n"
    )
    rows.conn.execute("vacuum analyze referral_rejections")
    plan = "\n".join(
        line
        for (line,) in rows.ask(
            "explain select id from referral_rejections where reason = 'empty' and (rejected_at, id) < (now(), %s)"
            " order by rejected_at desc, id desc limit 51",
            UUID(int=0),
        )
    )
    assert "referral_rejections_reason" in plan
    assert "Sort" not in plan


async def test_openapi_shows_rejects(web):
    """The description names each call with what it answers, its reasons, and an example."""
    paths = (await web.get("/openapi.json")).json()["paths"]
    assert {path.removeprefix(PATH) for path in paths if path.startswith(PATH)} == {
        "", "/reasons", "/retry", "/{id}", "/{id}/retry"
    }  # fmt: skip
    assert set(paths[f"{PATH}/{{id}}/retry"]["post"]["responses"]) == {"202", "404", "422", "503"}
    parameters = {parameter["name"]: parameter for parameter in paths[PATH]["get"]["parameters"]}
    assert parameters["reason"]["schema"]["anyOf"][0]["$ref"].endswith("/Reason")
    assert len(Reason) == 12
