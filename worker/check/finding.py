"""What a check comes to."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """What one check found; `remedy` is what to do, empty when there is nothing to do."""

    level: Level
    subject: str
    detail: str
    remedy: str = ""
