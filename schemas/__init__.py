"""
The contract in code: the usage event, rejects and what readers get.

Imports nothing but pydantic, so producers can take this package alone.
"""

from schemas.rejection import Reason
from schemas.stats import CodeStats, StoredUsage, Timeline, Usage, UsageHistory, UsedCodes, UserCode
from schemas.usage import UsageEvent
from schemas.workers import Overview, Workers

__all__ = [
    "CodeStats",
    "Overview",
    "Reason",
    "StoredUsage",
    "Timeline",
    "Usage",
    "UsageEvent",
    "UsageHistory",
    "UsedCodes",
    "UserCode",
    "Workers",
]
