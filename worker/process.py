"""The worker process: its signals, its failures and its exit code."""

import gc
import os
import signal
import threading
from typing import Any, Final

import faust
import structlog

from worker.errors import SettingsError
from worker.exit_codes import EXIT_FAILURE
from worker.health import Health

_OBJECTS_BETWEEN_COLLECTIONS: Final = 100_000
# what Faust and the event loop take to stop after the runs in flight are finished
_STOP_OVERHEAD_S: Final = 8.0

_log: Final = structlog.get_logger("referrals")


class WorkerProcess(faust.Worker):
    """
    Runs the Faust app and its services until a signal or a failure.

    The first SIGTERM or SIGINT stops in order, the second at once: nothing is lost at whatever moment a process ends.
    """

    def __init__(self, app: faust.App, *services: Any, health: Health, stop_timeout_s: float, **options: Any) -> None:
        super().__init__(app, *services, quiet=True, override_logging=False, redirect_stdouts=False, **options)
        self.spinner = None
        self._health = health
        self._stop_timeout_s = stop_timeout_s
        self._exit_code = 0

    def run(self) -> int:
        """Run until stopped and return the exit code."""
        # a run makes tens of thousands of objects and no cycles: at Python's default of 700, looking for cycles among
        # them took a quarter of the processor time of an event
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 50, 100)
        try:
            self.execute_from_commandline()
        except SystemExit as error:
            return self._exit_code or (error.code if isinstance(error.code, int) else EXIT_FAILURE)

    def fail(self, error: BaseException) -> None:
        """Stop the process because of an error that no retry mends; a supervisor, or a person, takes over."""
        if self._health.failure is None:
            if isinstance(error, SettingsError):
                _log.critical("stopping: a setting must be changed first", error=str(error))
            else:
                _log.critical("stopping: going on could lose or double events", error=str(error), exc_info=error)
            self._health.failure = str(error)
            self._exit_code = EXIT_FAILURE
            self._stop_in_order(signal.SIGTERM)

    def _on_sigint(self) -> None:
        self._on_signal(signal.SIGINT)

    def _on_sigterm(self) -> None:
        self._on_signal(signal.SIGTERM)

    def _on_signal(self, received: signal.Signals) -> None:
        if self._health.is_stopping:
            _log.warning("stopping at once", signal=received.name)
            os._exit(128 + received)
        _log.info("stopping; a second signal ends the process at once", signal=received.name)
        self._stop_in_order(received)

    def _stop_in_order(self, reason: signal.Signals) -> None:
        self._health.is_stopping = True
        patience = threading.Timer(self._stop_timeout_s + _STOP_OVERHEAD_S, self._give_up)
        patience.daemon = True
        patience.start()
        self._schedule_shutdown(reason)

    def _give_up(self) -> None:
        # Faust waits for as long as a broker does not answer, which must not keep a process that is to stop
        _log.warning("not stopped in time: ending at once; what is not stored will be delivered again")
        os._exit(self._exit_code or EXIT_FAILURE)
