"""Logging: structlog for our lines, and the standard library's for everybody else's, in one format."""

import io
import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from worker.text import printable


def configure(log_format: str, level: str) -> None:
    """
    Send every log line to standard error.

    Args:
        log_format: `text` for people, `json` for machines.
        level: least severe level to log; libraries say warnings and worse at most.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            _escape_unprintable,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=28, exception_formatter=_write_traceback
            ),
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("referrals").setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _escape_unprintable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # what others have sent must neither begin a line of its own nor steer a terminal; JSON escapes by itself
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _write_traceback(output: TextIO, exception: ExcInfo) -> None:
    # structlog's own choice, where rich is installed, shows every frame's variables: settings, passwords and records
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exception)
    # an exception's words may have lines of others; what is indented is no line of the log
    output.writelines(f"\n  {printable(line)}" for line in plain.getvalue().strip().splitlines())
