"""Whether this worker is alive, and whether it is ready: what /livez and /readyz say."""

from worker.runs.lanes import Lanes


class Health:
    """Asks the lanes, and remembers what the process itself has come to."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.is_stopping = False
        self.failure: str | None = None
        self.stall: str | None = None  # a partition that stands still, and why; the watchdog's finding

    def alive(self) -> str | None:
        """Return why this process should be replaced; None when it should not."""
        return self.failure or self.stall

    def ready(self) -> list[str]:
        """Return why this worker does not do all of its work now; empty when it does."""
        if self.is_stopping:
            return ["stopping"]
        if not self._lanes.is_assigned:
            return ["waiting for Kafka to assign partitions"]
        loading = [f"loading {topic}[{partition}]" for topic, partition in self._lanes.loading]
        return loading + self._lanes.outages
