"""What can go wrong around the embedded servers; each error says what failed and what to do about it."""


class SandboxError(Exception):
    """
    Something of the sandbox failed in a way a person can act on.

    Args:
        what: what failed, one line or more.
        remedy: what to do now.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy


class JarsUnavailableError(SandboxError):
    """The broker's jars could not be fetched, or are not the ones expected."""


class ProcessEndedError(SandboxError):
    """A server or worker ended by itself; carries the last lines of its output."""

    def __init__(self, name: str, returncode: int, output: str, remedy: str) -> None:
        super().__init__(f"{name} ended with code {returncode}; its last lines:\n{output}", remedy)
        self.returncode = returncode
        self.output = output


class ProcessTimeoutError(SandboxError):
    """A server or worker did not do in time what was waited for."""


class PortTakenError(SandboxError):
    """The port that was asked for belongs to another process."""


class CommandFailedError(SandboxError):
    """A tool of Kafka or PostgreSQL failed, or is not there."""


class FolderNotOursError(SandboxError):
    """A folder that must be private belongs to another account."""


class PublishFailedError(SandboxError):
    """The broker did not take the sample events."""


class AlreadyRunningError(SandboxError):
    """Another demo or server runs in the same folder."""


class OptionError(SandboxError):
    """A value given to the demo makes no sense."""


class StepFailedError(SandboxError):
    """A step of the demo failed in a way nobody foresaw; the traceback is in the demo's log."""
