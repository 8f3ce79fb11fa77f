"""
Sets of jars, the broker's first: fetched once with jgo, checked against known hashes, then used without any network.

`kafka-jars.sha256` beside this file names the broker's. After a change of its coordinates, `python -m sandbox.jars`
writes it anew.
"""

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from jgo.constants import MAVEN_CENTRAL_URL
from jgo.env import EnvironmentBuilder, LinkStrategy
from jgo.maven import MavenContext

from sandbox.errors import JarsUnavailableError


class JarSet(NamedTuple):
    """
    Jars that are used together, with all that they need.

    Args:
        name: also that of their folder, so it carries the version.
        coordinates: Maven's, joined by +.
        hashes: a file of SHA-256 and name of each.
    """

    name: str
    coordinates: str
    hashes: Path


KAFKA_VERSION: Final = "4.3.0"
KAFKA: Final = JarSet(
    f"kafka-{KAFKA_VERSION}",
    # log4j coordinates would change the versions that the broker's own dependencies resolve to
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36",
    Path(__file__).with_name("kafka-jars.sha256"),
)
JARS_FOLDER: Final = Path(__file__).parents[1] / ".sandbox" / "jars"
REQUEST_TIMEOUT_S: Final = 30


def fetch_jars(jars: JarSet, folder: Path) -> list[Path]:
    """
    Return where the jars of a set lie, fetching what is not there yet.

    Several processes may call this at once, one of them fetches.

    Args:
        jars: the set.
        folder: where all sets are kept, each in a folder of its own.
    Raises:
        JarsUnavailableError: no network, or a jar with another hash than the known one.
    """
    hashes = _known_hashes(jars)
    target = folder / jars.name
    if not _is_complete(target, hashes):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            if not _is_complete(target, hashes):
                _fetch(jars, target, hashes)
    return [target / name for name in hashes]


def are_fetched(jars: JarSet, folder: Path) -> bool:
    """Tell whether `fetch_jars` will do without the network."""
    return _is_complete(folder / jars.name, _known_hashes(jars))


def write_hashes(jars: JarSet) -> None:
    """
    Fetch a set and write the file of its hashes, for those who have looked at what changed.

    Raises:
        JarsUnavailableError: no network.
    """
    with tempfile.TemporaryDirectory() as name:
        fetched = Path(name) / "jars"
        _resolve(jars, Path(name), fetched)
        lines = [f"{digest}  {jar}\n" for jar, digest in _hashes_of(fetched).items()]
    jars.hashes.write_text("".join(lines), encoding="ascii")


def _is_complete(target: Path, hashes: dict[str, str]) -> bool:
    return all((target / name).is_file() for name in hashes)


def _fetch(jars: JarSet, target: Path, hashes: dict[str, str]) -> None:
    # jgo takes a half-written file of an interrupted run for a whole one and only warns of a wrong checksum: always
    # fetch into a new folder, check, and let the whole set appear at once
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=target.parent) as name:
        fetched = Path(name) / "jars"
        _resolve(jars, Path(name), fetched)
        actual = _hashes_of(fetched)
        wrong = sorted(dict(actual.items() ^ hashes.items()))
        if wrong:
            what = f"the jars of {jars.name} differ from the known ones: {', '.join(wrong)}"
            raise JarsUnavailableError(what, "try again; if it stays, the package registry serves other files")
        shutil.rmtree(target, ignore_errors=True)
        fetched.rename(target)


def _resolve(jars: JarSet, workspace: Path, fetched: Path) -> None:
    context = MavenContext(
        repo_cache=workspace / "repository",
        remote_repos={"central": MAVEN_CENTRAL_URL},
        timeout=REQUEST_TIMEOUT_S,
    )
    builder = EnvironmentBuilder(context, cache_dir=workspace / "environment", link_strategy=LinkStrategy.COPY)
    try:
        environment = builder.from_endpoint(jars.coordinates)
    # jgo has no errors of its own: it raises RuntimeError, and those of requests are OSErrors
    except (OSError, RuntimeError) as error:
        what = f"the jars of {jars.name} could not be fetched from {MAVEN_CENTRAL_URL}: {error}"
        remedy = "check the network (a proxy goes into HTTPS_PROXY) and run the command again; it is needed only once"
        raise JarsUnavailableError(what, remedy) from error
    fetched.mkdir()
    for jar in environment.all_jars:
        shutil.move(jar, fetched / jar.name)


def _known_hashes(jars: JarSet) -> dict[str, str]:
    lines = jars.hashes.read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def _hashes_of(folder: Path) -> dict[str, str]:
    return {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in sorted(folder.iterdir())}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    write_hashes(KAFKA)
