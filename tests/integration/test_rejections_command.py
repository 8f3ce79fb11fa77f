"""`referrals rejections` over a real database: hostile bytes come out inert for a terminal, and exact for a program."""

import base64
import json
import os
import subprocess
import sys

import pytest

from worker.exit_codes import EXIT_SETTINGS

SHORT = b"<b>=1+1\r\nforged line\x00\x1b[2J\x1b]0;owned\x07\xff\xe2\x80\xae"
HOSTILE = SHORT + b"x" * 61_440


def run(database_url, *command):
    environment = {"PATH": os.environ["PATH"], "REFERRALS_DATABASE_URL": database_url, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", "rejections", *command],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=60,
        check=False,
    )


def output(database_url, *command):
    finished = run(database_url, *command)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == b""
    return finished.stdout


def test_reject_is_shown_without_steering_the_terminal(database_url, rows):
    """Every line that is shown is printable; text and hex are there, and --raw gives the bytes as they were."""
    id_ = rows.reject(HOSTILE, key=SHORT, headers=[("a", SHORT), ("b", None)], detail="why")
    shown = output(database_url, "show", id_).decode()
    lines = shown.splitlines()
    assert shown.count("\n") == len(lines)
    assert all(line.isprintable() for line in lines)
    assert "reason     not_an_object" in lines
    assert "record     referral-usages[3]@42" in lines
    assert "retried    never, attempts 0" in lines
    assert r"key        <b>=1+1\r\nforged line\x00\x1b[2J\x1b]0;owned\x07\xff\u202e" in lines
    assert "header     b: null" in lines
    assert any(line.startswith("00000000  3c 62 3e 3d 31 2b 31 0d 0a ") for line in lines)
    assert lines[-1] == f"... {len(HOSTILE) - 4096} more bytes; --raw writes them all"
    assert output(database_url, "show", id_, "--raw") == HOSTILE


@pytest.mark.parametrize("value", [None, b"", HOSTILE])
def test_reject_is_exported_to_the_byte(database_url, rows, value):
    """A line is one JSON object, with bytes as base64."""
    id_ = rows.reject(value, key=value, headers=[("a", value)])
    told = json.loads(output(database_url, "export"))
    text = None if value is None else base64.b64encode(value).decode()
    assert (told["id"], told["value"], told["key"]) == (id_, text, text)
    assert told["headers"] == [{"name": "a", "value": text}]


def test_all_rejects_are_exported(database_url, rows):
    """An export goes on over as many pages as there are, each reject once."""
    ids = {rows.reject() for _ in range(120)}
    lines = output(database_url, "export").splitlines()
    assert len(lines) == 120
    assert {json.loads(line)["id"] for line in lines} == ids


def test_rejects_are_listed_a_line_each(database_url, rows):
    """The list names each reject, cuts where it is told to, and ends with the counts."""
    ids = [rows.reject(HOSTILE) for _ in range(3)]
    lines = output(database_url, "list", "--limit", "2").decode().splitlines()
    assert len(lines) == 4
    assert all(line.split()[1] in ids for line in lines[:2])
    assert "and more" in lines[2]
    assert lines[3] == "3 not_an_object"
    assert output(database_url, "list", "--reason", "empty") == b"3 not_an_object\n"


def test_no_rejects_are_said_to_be_none(database_url):
    """An empty list says so, and an empty export is empty."""
    assert output(database_url, "list") == b"no rejects\n"
    assert output(database_url, "export") == b""


@pytest.mark.parametrize(
    "command",
    [["retry"], ["retry", "--all", "--reason", "empty"], ["show", "0190a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"]],
    ids=" ".join,
)
def test_command_says_what_it_lacks(database_url, command):
    """What cannot be done is told in one line, with no traceback."""
    finished = run(database_url, *command)
    assert finished.returncode == EXIT_SETTINGS
    assert finished.stderr.startswith(b"referrals: ")
    assert finished.stderr.count(b"\n") == 1


def test_retry_asks_first(database_url, rows):
    """Without --yes and without an answer nothing is published."""
    rows.reject()
    finished = run(database_url, "retry", "--all")
    assert finished.returncode == 1
    assert b"publish 1 rejects" in finished.stdout
    assert rows.ask("select attempts from referral_rejections") == [(0,)]
