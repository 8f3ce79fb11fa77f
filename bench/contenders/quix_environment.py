"""
The environment of quix-streams: it pins older packages than this project does, so it cannot share ours.

Made on first use from `quix-streams.lock`, which `make lock` writes, and again when that has changed.
"""

import fcntl
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from sandbox.errors import CommandFailedError
from sandbox.jars import JARS_FOLDER

LOCK: Final = Path(__file__).with_name("quix-streams.lock")
FOLDER: Final = JARS_FOLDER.parent / "quix-streams"
INSTALL_DEADLINE_S: Final = 600.0


def quix_python() -> Path:
    """
    Return the Python of the environment, making it when it is not there.

    Several processes may call this at once, one of them makes it.

    Raises:
        CommandFailedError: pip's own words say why the packages cannot be installed.
    """
    python = FOLDER / "bin" / "python"
    # written last: what was interrupted is done again
    stamp = FOLDER / "installed.lock"
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_name("quix-streams.making").open("w") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
            venv.create(FOLDER, clear=True, with_pip=True)
            _install(python)
            stamp.write_bytes(LOCK.read_bytes())
    return python


def quix_version() -> str:
    """Return the version of quix-streams that the lock file names."""
    found = re.search(r"^quixstreams\S*==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def _install(python: Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", str(LOCK))
    result = subprocess.run(
        [str(python), "-m", "pip", "install", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_DEADLINE_S,
        check=False,
    )
    if result.returncode != 0:
        what = f"quix-streams could not be installed with {sys.version.split()[0]}:\n{result.stdout.strip()}"
        raise CommandFailedError(what, "check the network and pip's settings, then run the command again")
