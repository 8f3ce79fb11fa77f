"""What the commands of all benches have alike: numbers as people write them, and how a run ends."""

import argparse
from collections.abc import Callable
from typing import Final

from rich.console import Console

from sandbox.errors import SandboxError

EXIT_FAILURE: Final = 1
EXIT_INTERRUPTED: Final = 130


def positive(text: str) -> int:
    """
    Return a number from 1 on, which may have commas or underscores between its digits.

    Raises:
        argparse.ArgumentTypeError: it is below 1.
    """
    number = int(text.replace(",", "").replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return number


def attempt(
    work: Callable[[], None], console: Console, *, interrupted: str = "everything is stopped, nothing was written"
) -> int:
    """
    Do the work of a command and return its exit code; what went wrong is said.

    Args:
        interrupted: what a person reads who has ended it.
    """
    try:
        work()
    except KeyboardInterrupt:
        console.print(f"interrupted: {interrupted}")
        return EXIT_INTERRUPTED
    except SandboxError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return EXIT_FAILURE
    return 0
