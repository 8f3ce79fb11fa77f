"""Documentation that cannot go stale: it is held against the code."""

import inspect
import re
from pathlib import Path

import pytest
import typer
from annotated_types import Ge, Gt, Le, Lt
from fix_web import HandHealth, HandTable, HandTopic, new_app, new_database
from pydantic.fields import FieldInfo

from schemas import Reason
from worker import errors
from worker.cli import cli
from worker.metrics import Metrics
from worker.migrate import MIGRATIONS
from worker.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SIGNS = {Ge: "≥ {}", Gt: "> {}", Le: "≤ {}", Lt: "< {}"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def bound(field: FieldInfo) -> str:
    parts = []
    for constraint in field.metadata:
        for kind, sign in SIGNS.items():
            if isinstance(constraint, kind):
                value = next(iter(vars(constraint).values())) if hasattr(constraint, "__dict__") else None
                value = getattr(constraint, kind.__name__.lower()) if value is None else value
                parts.append(sign.format(value))
    return ", ".join(parts)


def setting_row(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else "" if field.default is None else f"`{field.default}`"
    if name == "data_dir":
        default = "a folder for temporary files"
    return f"| `{PREFIX}{name.upper()}` | {default} | {bound(field)} | {field.description} |"


def test_settings_are_documented_as_they_are() -> None:
    """Each setting has one row in docs/settings.md with its default, bounds and sentence, and no other row is there."""
    expected = [setting_row(name, field) for name, field in Settings.model_fields.items()]
    documented = [line for line in read("docs/settings.md").splitlines() if line.startswith(f"| `{PREFIX}")]
    assert documented == expected


@pytest.mark.parametrize("reason", Reason)
def test_reasons_are_documented(reason: Reason) -> None:
    """Each reason of a reject is explained in docs/data.md."""
    assert f"`{reason.value}`" in read("docs/data.md")


@pytest.mark.parametrize(
    "error",
    [name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.WorkerError)],
)
def test_errors_are_documented(error: str) -> None:
    """Each error class of the worker is explained in docs/delivery.md."""
    assert f"`{error}`" in read("docs/delivery.md")


def test_tables_are_documented() -> None:
    """Each table of the schema has its place in docs/data.md."""
    tables = re.findall(r"create table (\w+)", read("worker/sql/schema.sql"))
    assert len(tables) >= 5
    assert all(f"`{table}`" in read("docs/data.md") for table in tables)


def test_commands_are_documented() -> None:
    """Each command of `referrals` is shown in docs/running.md."""
    names = []
    for name, command in typer.main.get_command(cli).commands.items():
        names += [name, *(f"{name} {inner}" for inner in getattr(command, "commands", []))]
    assert {"worker", "migrate", "publish", "rejections retry"} <= set(names)
    assert all(f"`referrals {name}" in read("docs/running.md") for name in names)


def test_metrics_are_documented() -> None:
    """Each metric has one row in docs/running.md under the name that is scraped, and no other row is there."""
    families = Metrics("1.2.3", lambda _now_s: []).registry.collect()
    names = [f"{family.name}_total" if family.type == "counter" else family.name for family in families]
    assert sorted(names) == sorted(re.findall(r"^\| `(referrals_\w+)`", read("docs/running.md"), re.MULTILINE))


def test_calls_are_documented() -> None:
    """Each call of the API has one row in docs/api.md and a path in an example of it, and no other row is there."""
    app = new_app(new_database("postgresql://nowhere/"), HandTable(), HandHealth(), HandTopic())
    calls = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    page = read("docs/api.md")
    rows = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", page, re.MULTILINE))
    assert calls - rows == set(), "calls without a row in docs/api.md"
    assert rows - calls == set(), "rows in docs/api.md of calls that are not there"
    shown = [re.sub(r"\$\w+", "{}", path) for path in re.findall(r'^curl .*"\$url([^"?]+)', page, re.MULTILINE)]
    wanted = {re.sub(r"{\w+}", "{}", call.split()[1]) for call in calls}
    assert wanted - set(shown) == set(), "calls without an example in docs/api.md"


def test_proofs_exist() -> None:
    """Each test that docs/delivery.md names as a proof is there."""
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert set(re.findall(r"`(test_\w+)`", read("docs/delivery.md"))) <= tests


def test_readme_commands_exist() -> None:
    """Each `make` target that the README names is in the Makefile."""
    wanted = set(re.findall(r"\bmake ([a-z][a-z-]*)", read("README.md")))
    assert wanted
    assert wanted <= set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), re.MULTILINE))


def test_links_lead_somewhere() -> None:
    """Each relative link in the documentation names a file of the project."""
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md"), ROOT / "bench/README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_changelog_names_the_version() -> None:
    """The changelog's newest entry is the version that the package has, and the schema it needs."""
    version = re.search(r'^version = "(.+)"$', read("pyproject.toml"), re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in read("CHANGELOG.md")
    assert MIGRATIONS[-1].version == len(MIGRATIONS)
