"""`referrals config`: the settings in effect."""

import json
import re
from typing import Annotated

import typer
from pydantic import SecretStr

from worker.check.database import where
from worker.settings import PREFIX, Settings


def config(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print the settings in effect and where each comes from; passwords are left out."""
    settings = Settings.load()
    shown = {
        PREFIX + name.upper(): {
            "value": _show(settings, name),
            "source": "environment" if name in settings.model_fields_set else "default",
        }
        for name in Settings.model_fields
    }
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    for variable, it in shown.items():
        typer.echo(f"{variable}={it['value']}  # {it['source']}")


def _show(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if name == "database_url":
        return f"postgresql://{where(value)}"
    if name == "web_url":
        # a proxy may want a password
        return re.sub(r"//[^/@]*@", "//", settings.url)
    if isinstance(value, SecretStr):
        return str(value)
    return "" if value is None else str(value)
