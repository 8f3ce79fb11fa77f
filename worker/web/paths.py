"""The ids in the paths of HTTP calls; apart from `params`, which serves the command line too and needs no FastAPI."""

from typing import Annotated

from fastapi import Path

from schemas.stats import USAGE_EXAMPLE, USER_EXAMPLE
from worker.web.params import UUID_EXAMPLE, UuidParam

CodeUuid = Annotated[UuidParam, Path(description="the referral code, in any case", examples=[UUID_EXAMPLE])]
UserUuid = Annotated[UuidParam, Path(description="the user, in any case", examples=[USER_EXAMPLE])]
UsageUuid = Annotated[UuidParam, Path(description="the usage, in any case", examples=[USAGE_EXAMPLE])]
