"""
Child processes on a leash: their output in a file, their end observable, none of them left behind.

Owns starting, watching and ending of processes; knows nothing of Kafka or PostgreSQL.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from sandbox.errors import ProcessEndedError, ProcessTimeoutError

LEASH: Final = Path(__file__).with_name("leash.py")
POLL_INTERVAL_S: Final = 0.05
KILL_BOUND_S: Final = 10.0
TOOL_DEADLINE_S: Final = 120.0
TAIL_LINES: Final = 25

# Linux ties a child to the *thread* that started it (PR_SET_PDEATHSIG), and a thread of asyncio.to_thread may end long
# before the program: one thread that lives as long as the program starts them all
_spawner = ThreadPoolExecutor(1, "sandbox-spawner")
_spawned: set[subprocess.Popen[bytes]] = set()


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs this very Python, from the same environment, with the arguments."""
    return [sys.executable, *arguments]


def run_tool(
    name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None, user: str = ""
) -> subprocess.CompletedProcess[str]:
    """
    Run a program that ends by itself and return its exit code and output.

    Raises:
        ProcessTimeoutError: it had not ended after `TOOL_DEADLINE_S`, and was killed.
    """
    try:
        return subprocess.run(
            _on_leash(command, signal.SIGKILL, user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=environment,
            timeout=TOOL_DEADLINE_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        what = f"{name} had not ended after {TOOL_DEADLINE_S:.0f} s"
        raise ProcessTimeoutError(what, "see whether the machine is overloaded, then try again") from error


def kill_all() -> None:
    """Send SIGKILL to every process started here that still runs; safe in a signal handler, waits for nothing."""
    for popen in tuple(_spawned):
        popen.send_signal(signal.SIGKILL)


class Process:
    """
    One running child process, started by the constructor.

    It has its own session, so that a Ctrl-C in the terminal reaches only the program that started it, which then ends
    its processes in the right order.

    Args:
        name: what messages call it.
        command: program (a path) and arguments.
        log: file for its output; that of the start before is kept beside it with the ending `.1`.
        environment: the whole environment; the own one when None.
        death_signal: what it gets, on Linux, when this program dies without having stopped it.
        user: the account to run as; needs root.
        kept: descriptors that it and its descendants have open for as long as they live.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        user: str = "",
        kept: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        command = _on_leash(command, death_signal, user)
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))
        # The write end is inherited by the process and all its descendants and used by none of them: the read end
        # reports end of file once the last of them is gone.
        self._alive, inherited = os.pipe()
        try:
            with log.open("wb") as output:
                self._popen = _spawner.submit(
                    _spawn, command, output.fileno(), (inherited, *kept), environment
                ).result()
        finally:
            os.close(inherited)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def output(self) -> str:
        """Return all it has written since its start."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def tail(self) -> str:
        """Return the last lines it has written."""
        return "\n".join(self.output().splitlines()[-TAIL_LINES:])

    def check(self, remedy: str) -> None:
        """
        Do nothing as long as it runs.

        Raises:
            ProcessEndedError: it has ended; its last lines and the remedy are in the message.
        """
        if self.returncode is not None:
            raise ProcessEndedError(self.name, self.returncode, self.tail() or f"(nothing in {self.log})", remedy)

    def wait_until(self, is_ready: Callable[[], bool], *, deadline_s: float, remedy: str) -> None:
        """
        Wait for a condition that the process will bring about.

        Raises:
            ProcessEndedError: it ended before.
            ProcessTimeoutError: it still runs after the deadline and the condition does not hold.
        """
        deadline = time.monotonic() + deadline_s
        while not is_ready():
            self.check(remedy)
            if time.monotonic() > deadline:
                what = f"{self.name} was not ready after {deadline_s:.0f} s; its last lines:\n{self.tail()}"
                raise ProcessTimeoutError(what, remedy)
            time.sleep(POLL_INTERVAL_S)

    def stop(self, stop_signal: signal.Signals = signal.SIGTERM, *, bound_s: float = 15.0) -> None:
        """Ask it to end, and kill it when it or a descendant still runs after `bound_s`."""
        self._popen.send_signal(stop_signal)
        if not self._wait_gone(bound_s):
            self.kill()

    def kill(self) -> None:
        """
        Send SIGKILL to it and its children, and wait until all its descendants are gone.

        Children are found on Linux; elsewhere they must notice the death of their parent themselves.

        Raises:
            ProcessTimeoutError: a descendant still runs after some seconds.
        """
        # stopped first, so that none is born while they are looked for
        self._popen.send_signal(signal.SIGSTOP)
        for child in _children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._popen.send_signal(signal.SIGKILL)
        if not self._wait_gone(KILL_BOUND_S):
            what = f"processes started by {self.name} (pid {self.pid}) still run {KILL_BOUND_S:.0f} s after its kill"
            raise ProcessTimeoutError(what, "look for them with ps and end them by hand")

    def _wait_gone(self, bound_s: float) -> bool:
        if self._alive < 0:
            return True
        # nobody ever writes, so readable means end of file
        is_readable, _, _ = select.select([self._alive], [], [], bound_s)
        if not is_readable:
            return False
        with contextlib.suppress(OSError):
            os.close(self._alive)
        self._alive = -1
        self._popen.wait()
        _spawned.discard(self._popen)
        return True


def _on_leash(command: Sequence[str], death_signal: signal.Signals, user: str) -> list[str]:
    leash = [str(LEASH), str(os.getpid()), str(int(death_signal)), user, "--"]
    return [*python_command("-I", "-S"), *leash, *command]


def _spawn(
    command: Sequence[str], output: int, kept: Sequence[int], environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    # registered in the same thread, which no signal handler of the main thread can interrupt
    popen = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=kept,
        start_new_session=True,
    )
    _spawned.add(popen)
    return popen


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # gone since it was listed
        with contextlib.suppress(OSError):
            # "pid (name) state parent ...", and the name may hold anything
            _, parent = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
            if int(parent) == pid:
                found.append(int(stat.parent.name))
    return found
