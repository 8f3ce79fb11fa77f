"""`referrals config`: the settings in effect, where they come from, and no password."""

import json

from command import run

from worker.exit_codes import EXIT_SETTINGS
from worker.settings import PREFIX, Settings

URL = "postgresql://worker:hunter2@db.example:5432/referrals?sslpassword=hunter2"


def test_config_prints_each_setting_with_its_source() -> None:
    """Every setting is one line, in the order of the documentation, with its value and where it comes from."""
    finished = run("config", REFERRALS_DATABASE_URL=URL, REFERRALS_PARTITIONS="12", REFERRALS_WEB_HOST="::1")
    assert finished.returncode == 0
    lines = finished.stdout.splitlines()
    assert [line.partition("=")[0] for line in lines] == [PREFIX + name.upper() for name in Settings.model_fields]
    assert "REFERRALS_PARTITIONS=12  # environment" in lines
    assert "REFERRALS_USAGES_TOPIC=referral-usages  # default" in lines
    assert "REFERRALS_WEB_URL=http://[::1]:8080  # default" in lines


def test_config_shows_no_password() -> None:
    """Of an address only user, host, port and name are shown, whatever else it holds."""
    for options in ([], ["--json"]):
        finished = run(
            "config", *options, REFERRALS_DATABASE_URL=URL, REFERRALS_WEB_URL="https://me:hunter2@worker.example/"
        )
        assert "postgresql://worker@db.example:5432/referrals" in finished.stdout
        assert "https://worker.example/" in finished.stdout
        assert "hunter2" not in finished.stdout + finished.stderr


def test_config_as_json_is_one_document() -> None:
    """With `--json` each setting has its value and its source."""
    finished = run("config", "--json", REFERRALS_DATABASE_URL=URL, REFERRALS_LOG_LEVEL="debug")
    document = json.loads(finished.stdout)
    assert document["REFERRALS_LOG_LEVEL"] == {"value": "debug", "source": "environment"}
    assert document["REFERRALS_WEB_PORT"] == {"value": "8080", "source": "default"}


def test_config_ends_like_a_worker_when_a_setting_is_wrong() -> None:
    """Settings that a worker would refuse are refused in the same words."""
    finished = run("config", REFERRALS_WEB_PORT="0")
    assert finished.returncode == EXIT_SETTINGS
    assert "referrals: REFERRALS_WEB_PORT: " in finished.stderr
