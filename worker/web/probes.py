"""What the worker knows of itself at this moment: the probes /livez and /readyz, and /metrics; none of them waits."""

from http import HTTPStatus
from typing import Final, Literal, Protocol

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, ConfigDict, Field

from worker.metrics import Metrics

_METRICS_ANSWER: Final[dict[int | str, dict[str, object]]] = {
    HTTPStatus.OK.value: {"content": {"text/plain": {"example": 'referrals_lag{partition="0"} 0.0\n'}}}
}


class Health(Protocol):
    """What the worker knows of itself; in tests, without a worker."""

    def alive(self) -> str | None:
        """Return why the process should be replaced; None when it should not."""

    def ready(self) -> list[str]:
        """Return why the worker does not do all of its work now; empty when it does."""


class ProbeAnswer(BaseModel):
    """What a probe says."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "reasons": []}]})

    status: Literal["ok", "unavailable"]
    reasons: list[str] = Field(description="why not, one sentence each; empty when ok")


def create_probes(health: Health, metrics: Metrics) -> APIRouter:
    """Return the routes of the probes and of the metrics."""
    described: dict[int | str, dict[str, object]] = {
        HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": ProbeAnswer, "description": "not so; `reasons` says why"}
    }
    probes = APIRouter(tags=["probes"])

    @probes.get("/livez", responses=described)
    async def read_liveness(response: Response) -> ProbeAnswer:
        """Whether the process should be left running; 503 when it should be replaced."""
        reason = health.alive()
        return _answer(response, [] if reason is None else [reason])

    @probes.get("/readyz", responses=described)
    async def read_readiness(response: Response) -> ProbeAnswer:
        """Whether the worker does all of its work; 503 when it does not, with the reasons."""
        return _answer(response, health.ready())

    @probes.get("/metrics", response_class=PlainTextResponse, responses=_METRICS_ANSWER)
    async def read_metrics() -> Response:
        """Counters, gauges and histograms of this worker, in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return probes


def _answer(response: Response, reasons: list[str]) -> ProbeAnswer:
    if reasons:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return ProbeAnswer(status="unavailable" if reasons else "ok", reasons=reasons)
