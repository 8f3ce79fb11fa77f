"""`referrals publish`: puts usage events on the topic."""

import asyncio
from typing import Annotated

import typer
from pydantic import ValidationError

from schemas import UsageEvent
from worker.errors import SettingsError
from worker.pipeline.decode import explain_fields
from worker.publish import publish_event
from worker.settings import BrokerSettings


def publish(
    code: Annotated[str, typer.Option(help="UUID of the referral code.")],
    user: Annotated[str, typer.Option(help="UUID of the user who used it.")],
    date: Annotated[str | None, typer.Option(help="When, as in 2026-01-31T12:00:00Z; default: now.")] = None,
    event_id: Annotated[
        str | None, typer.Option(help="Your identity for this usage; a repeated one counts once.")
    ] = None,
) -> None:
    """Publish one usage event and wait until Kafka has acknowledged it."""
    settings = BrokerSettings.load()
    try:
        event = UsageEvent(code_uuid=code, used_by_uuid=user, date_used=date, event_id=event_id)
    except ValidationError as error:
        raise SettingsError("\n".join(explain_fields(error))) from error
    topic, partition, offset = asyncio.run(publish_event(settings, event))
    typer.echo(f"published {topic}[{partition}]@{offset}")
