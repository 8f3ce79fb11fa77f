"""A history of usages: stored by SQL, as a worker would have left it, because millions of events take too long."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg

from bench.events import code_uuid
from bench.sql import statement
from worker.pipeline.reroute import partition_of

DAYS: Final = 90
# what the server may use while nobody measures
SETTINGS: Final = {
    "work_mem": "1GB",
    "maintenance_work_mem": "1GB",
    "hash_mem_multiplier": "4",
    "synchronous_commit": "off",
    "enable_mergejoin": "off",
}


@dataclass(frozen=True, slots=True)
class History:
    """
    What is stored: usages within `DAYS` days, of the codes and users that the events of a backlog have.

    Args:
        until: the end of these days.
        popular_every: so many usages hold one of the first code; the others, or all when None, are even over all codes.
    """

    usage_count: int
    code_count: int
    user_count: int
    partition_count: int
    until: datetime
    popular_every: int | None = None


def store_history(conn: psycopg.Connection, history: History) -> None:
    """
    Store usages, statistics and hours; the positions stay where they are, so a topic can be read from its beginning.

    Args:
        conn: in autocommit mode, on a database with the worker's schema and no rows.
    """
    for name, value in SETTINGS.items():
        conn.execute("select set_config(%s, %s, false)", (name, value))
    conn.execute("create temporary table bench_codes (number integer primary key, uuid uuid, partition integer)")
    with conn.cursor().copy("copy bench_codes from stdin") as copy:
        for number in range(history.code_count):
            code = code_uuid(number)
            copy.write_row((number, code, partition_of(code, history.partition_count)))
    conn.execute("analyze bench_codes")
    # filling indexes afterwards takes a fraction of the time
    indexes = conn.execute(statement("history_indexes")).fetchall()
    for drop, _create in indexes:
        conn.execute(drop)
    conn.execute(
        statement("history"),
        {
            "count": history.usage_count,
            "days": DAYS,
            "until": history.until,
            "codes": history.code_count,
            "users": history.user_count,
            "popular_every": history.popular_every,
        },
    )
    for _drop, create in indexes:
        conn.execute(create)
    conn.execute(statement("history_statistics"))
    conn.execute(statement("history_hours"))
    conn.execute("drop table bench_codes")
    conn.execute("vacuum analyze")
