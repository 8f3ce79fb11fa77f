"""
Becomes another program that does not outlive the process that started it.

Run as a script by `sandbox.process`: `leash.py PARENT SIGNAL USER -- PROGRAM ARGUMENTS`. It must stay free of imports
from the project: it runs in Python's isolated mode, in a few milliseconds.

Linux sends a process a chosen signal when its parent dies (PR_SET_PDEATHSIG), even when the parent was killed with
SIGKILL and had no chance to clean up. The request survives exec, so it is made here and not in a `preexec_fn`, which
Python warns about in programs with threads. Elsewhere only an orderly end of the parent stops the program.
"""

import contextlib
import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_KEEPCAPS: Final = 8
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_RAISE: Final = 2
CAP_DAC_OVERRIDE: Final = 1
CAPABILITY_VERSION_3: Final = 0x20080522

IS_LINUX: Final = sys.platform == "linux"


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, become `user` when one is named, and then the program."""
    parent, death_signal, user = arguments[:3]
    program = arguments[4:]
    # a parent that blocks signals, as some test runners do, must not make its servers deaf
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if user:
        _become(user)
    if IS_LINUX:
        # after the change of user, which clears the request
        _prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):
            sys.exit("the parent died before the program could start")
    os.execv(program[0], program)  # noqa: S606 - this is what the script is for


def _become(user: str) -> None:
    import pwd  # noqa: PLC0415 - absent on Windows, and only root comes here

    entry = pwd.getpwnam(user)
    if IS_LINUX:
        # without this root's capabilities are gone before they can be handed on
        _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if IS_LINUX:
        # a container may have dropped the capability; then the folders' own permissions decide
        with contextlib.suppress(OSError):
            _keep_file_access()


def _keep_file_access() -> None:
    """
    Let the user reach the files root could reach: the clone and its environment often lie below a private folder.

    The alternative, opening every folder on the way to everybody, would change the machine for good.
    """
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    mask = 1 << CAP_DAC_OVERRIDE
    # effective, permitted and inheritable; first for capabilities 0 to 31, then for the rest
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    _checked(ctypes.CDLL(None, use_errno=True).capset(header, sets))
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def _prctl(option: int, *arguments: int) -> None:
    # prctl checks that the unused ones of its four arguments are 0
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(ctypes.CDLL(None, use_errno=True).prctl(option, *padded))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
