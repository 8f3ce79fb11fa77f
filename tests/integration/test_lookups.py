"""The codes of a user, and single usages, over real rows."""

import random
from datetime import UTC, datetime, timedelta

from fix_web import Row, new_uuid

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
USER = "1190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1c"
PATH = f"/api/v1/users/{USER}/codes"


def usage(code, user=USER, date=START):
    return Row(new_uuid(), code, user, date, True)


async def read_page(web, **params):
    """Return the items of a page as rows, and the cursor of the next one."""
    answer = await web.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    items = [
        (
            item["code_uuid"],
            item["uses"],
            datetime.fromisoformat(item["first_used"]),
            datetime.fromisoformat(item["last_used"]),
        )
        for item in answer.json()["items"]
    ]
    return items, answer.json()["next_cursor"]


async def test_user_codes_are_whole_over_their_pages(web, rows):
    """The pages hold every code of the user once, the one used last first, with its counts and dates."""
    chosen = random.Random(3)
    codes = [new_uuid() for _ in range(30)]
    rows.store(
        *[
            # few distinct dates, so that many are equal
            usage(chosen.choice(codes), chosen.choice([USER, new_uuid()]), START + timedelta(days=chosen.randrange(4)))
            for _ in range(200)
        ]
    )
    found, cursor = await read_page(web, limit=4)
    while cursor is not None:
        page, cursor = await read_page(web, limit=4, cursor=cursor)
        found += page
    assert found == rows.ask(
        "select code_uuid::text, count(*), min(date_used), max(date_used) from referral_usages"
        " where used_by_uuid = %s group by code_uuid order by max(date_used) desc, referral_usages.code_uuid desc",
        USER,
    )


async def test_user_codes_come_once_while_rows_arrive(web, rows):
    """A code used anew between two pages moves to the front: none comes twice, and those not used anew all come."""
    codes = [new_uuid() for _ in range(9)]
    rows.store(*[usage(code, date=START + place * timedelta(hours=1)) for place, code in enumerate(codes)])
    first, cursor = await read_page(web, limit=3)
    # one shown already, one not shown yet, and one that is new
    rows.store(*[usage(code, date=START + timedelta(days=1)) for code in (codes[8], codes[0], new_uuid())])
    rest, cursor = await read_page(web, limit=1000, cursor=cursor)
    assert cursor is None
    assert [code for code, *_ in first + rest] == codes[:0:-1]


async def test_user_without_usages_has_no_codes(web):
    """A user who used nothing is no error."""
    assert await read_page(web) == ([], None)


async def test_usage_comes_with_its_coordinates(web, rows):
    """A usage is found by its uuid in any case, with the topic, partition and offset of its record."""
    stored = usage(new_uuid())
    rows.store(stored)
    rows.conn.execute("update referral_usages set kafka_partition = 3, kafka_offset = 9876543210")
    answer = await web.get(f"/api/v1/usages/{stored.uuid.upper()}")
    assert answer.status_code == 200
    assert answer.json() == {
        "uuid": stored.uuid,
        "code_uuid": stored.code_uuid,
        "used_by_uuid": USER,
        "date_used": "2026-03-01T12:00:00Z",
        "first_use": True,
        "topic": "referral-usages",
        "partition": 3,
        "offset": 9876543210,
    }


async def test_usage_not_stored_is_a_problem(web):
    """A usage that is not stored is a 404 problem that names it, and a wrong uuid a 422."""
    uuid = new_uuid()
    answer = await web.get(f"/api/v1/usages/{uuid}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert uuid in answer.json()["detail"]
    assert (await web.get("/api/v1/usages/x")).status_code == 422
