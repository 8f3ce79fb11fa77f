"""
The demo, told in order: servers, schema, workers, sample events, addresses; then it serves until Ctrl-C.

All it keeps lies in one folder of the project and stays between runs.
"""

import asyncio
import fcntl
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sandbox.errors import AlreadyRunningError, OptionError, SandboxError, StepFailedError
from sandbox.events import POPULAR_CODE, USERS, samples
from sandbox.interrupts import Interrupts
from sandbox.jars import JARS_FOLDER, KAFKA_VERSION, are_fetched, kafka_jars
from sandbox.kafka import Kafka
from sandbox.ports import free_port
from sandbox.postgres import Postgres, psql
from sandbox.process import kill_all
from sandbox.publish import publish
from sandbox.referrals import PREFIX, Worker, migrate

FOLDER: Final = JARS_FOLDER.parent
KEPT_WHEN_FRESH: Final = frozenset({JARS_FOLDER.name, "lock"})
KAFKA_PORT: Final = 9092
DATABASE: Final = "referrals"
USAGES_TOPIC: Final = "referral-usages"
FIRST_EVENTS: Final = 6000
MORE_EVENTS: Final = 1500
WORKERS_MAX: Final = 8
WATCH_INTERVAL_S: Final = 0.5

log = logging.getLogger(__name__)
