"""`referrals stats` over a real database."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

from fix_web import Row, new_uuid

CODE = "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
USER = "1190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1c"


def run(database_url, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", "stats", *arguments],
        env={**os.environ, "REFERRALS_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_stats_command_shows_what_is_stored(rows, database_url):
    """The four statistics are shown, as a table for people and as the API's JSON; one never used is told to be so."""
    rows.store(Row(new_uuid(), CODE, USER, datetime(2026, 3, 1, 12, tzinfo=UTC), first_use=True))
    shown = run(database_url, CODE.upper())
    assert (shown.returncode, shown.stderr) == (0, "")
    for word in (CODE, "total uses", "unique users", "2026-03-01 12:00:00 UTC", USER):
        assert word in shown.stdout
    assert json.loads(run(database_url, CODE, "--json").stdout) == {
        "code_uuid": CODE,
        "total_uses": 1,
        "unique_users": 1,
        "last_used": "2026-03-01T12:00:00Z",
        "recent_users": [USER],
        "source": "database",
    }
    unused = run(database_url, new_uuid())
    assert unused.returncode == 0
    assert "was never used" in " ".join(unused.stdout.split())


def test_stats_command_refuses_what_is_no_uuid(database_url):
    """A wrong UUID is one clear line and exit code 2."""
    refused = run(database_url, "SUMMER-SALE")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'SUMMER-SALE' is not a UUID of 36 characters" in refused.stderr
