"""The options of `referrals publish`: what is refused before anything connects."""

from pathlib import Path

import pytest

from worker.cli import cli
from worker.errors import SettingsError

CODE = "7f0c8d9e-3b1a-4c62-9d55-0a1b2c3d4e5f"
USER = "0d4f6a52-8c1e-4f7b-a3d2-6e5b4c3a2f10"
EVENT = ["--code", CODE, "--user", USER]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["events.ndjson", "--code", CODE], "FILE and --code exclude each other"),
        (["-", "--event-id", "a"], "FILE and --event-id exclude each other"),
        (["--code", CODE], "--user is missing"),
        ([], "--code is missing"),
        ([*EVENT, "--from-line", "3"], "--from-line says how to read a FILE"),
        ([*EVENT, "--format", "csv"], "--format says how to read a FILE"),
        (["events.txt"], "say --format"),
        (["no such file.csv"], "cannot be read: "),
        (["--code", CODE, "--user", "x"], "used_by_uuid 'x' is not a UUID"),
        ([*EVENT, "--date", "1969-01-01T00:00:00Z"], "(date_too_old)"),
        ([*EVENT, "--date", "2999-01-01T00:00:00Z"], "(date_in_future)"),
        ([*EVENT, "--date", "0001-01-01T00:00:00+14:00"], "(invalid_date)"),
        ([*EVENT, "--event-id", ""], "(invalid_event_id)"),
    ],
)
def test_wrong_use_is_told_in_one_clear_line(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Options that exclude each other, and what a worker would reject, are refused before a broker is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFERRALS_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    with pytest.raises(SettingsError) as refusal:
        cli(["publish", *arguments], standalone_mode=False)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
