"""Log lines: what others have sent stays on its line, in both formats, and no variable of ours is shown."""

import json
import logging

import pytest
import structlog

from worker import log

HOSTILE = "x\r\n2026-01-01T00:00:00Z [info     ] forged\x1b[2J\x00\u2028\u202eend"
PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def _restored_logging():
    """The logging of the tests themselves is as before."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield
    root.handlers, root.level = before, level
    structlog.reset_defaults()


def lines_of(capsys):
    return capsys.readouterr().err.split("\n")


def fail(secret):
    password = secret * 2
    raise ValueError(HOSTILE) from KeyError(len(password))


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_line_is_one_line_whatever_is_in_it(capsys, log_format):
    """An event, a value and a library's message with line ends and terminal commands each make one printable line."""
    log.configure(log_format, "info")
    structlog.get_logger("referrals").warning(HOSTILE, value=HOSTILE, values=[HOSTILE])
    logging.getLogger("library").error("%s", HOSTILE)
    first, second, rest = lines_of(capsys)
    assert first.isprintable()
    assert second.isprintable()
    assert rest == ""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_keeps_words_that_can_be_printed(capsys, log_format):
    """Letters of any language are not escaped away in text, and are the same once JSON is read."""
    log.configure(log_format, "info")
    structlog.get_logger("referrals").info("stored", name="größe")
    line = lines_of(capsys)[0]
    if log_format == "json":
        assert json.loads(line)["name"] == "größe"
    else:
        assert "name=größe" in line


def test_log_of_an_exception_forges_no_line_and_shows_no_variable(capsys):
    """In text, a traceback is indented whatever the exception says, and has no values of variables."""
    log.configure("text", "info")
    try:
        fail(PASSWORD)
    except ValueError as error:
        structlog.get_logger("referrals").critical("stopping", exc_info=error)
    first, *lines, rest = lines_of(capsys)
    assert "stopping" in first
    assert rest == ""
    assert len(lines) > 3
    assert all(line.startswith("  ") and line.isprintable() for line in lines)
    assert PASSWORD not in "".join(lines)
