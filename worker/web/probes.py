"""The probes /livez and /readyz: what the worker knows of itself at this moment; they never wait for anything."""

from http import HTTPStatus
from typing import Literal, Protocol

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field


class Health(Protocol):
    """What the worker knows of itself; in tests, without a worker."""

    def alive(self) -> str | None:
        """Return why the process should be replaced; None when it should not."""

    def ready(self) -> list[str]:
        """Return why the worker does not do all of its work now; empty when it does."""


class ProbeAnswer(BaseModel):
    """What a probe says."""

    status: Literal["ok", "unavailable"]
    reasons: list[str] = Field(description="why not, one sentence each; empty when ok")


def create_probes(health: Health) -> APIRouter:
    """Return the routes of the probes."""
    described: dict[int | str, dict[str, object]] = {
        HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": ProbeAnswer, "description": "not so; `reasons` says why"}
    }
    probes = APIRouter(tags=["probes"], responses=described)

    @probes.get("/livez")
    async def read_liveness(response: Response) -> ProbeAnswer:
        """Whether the process should be left running; 503 when it should be replaced."""
        reason = health.alive()
        return _answer(response, [] if reason is None else [reason])

    @probes.get("/readyz")
    async def read_readiness(response: Response) -> ProbeAnswer:
        """Whether the worker does all of its work; 503 when it does not, with the reasons."""
        return _answer(response, health.ready())

    return probes


def _answer(response: Response, reasons: list[str]) -> ProbeAnswer:
    if reasons:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return ProbeAnswer(status="unavailable" if reasons else "ok", reasons=reasons)
