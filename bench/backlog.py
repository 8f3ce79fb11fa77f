"""
How fast a backlog is drained: this worker beside what one would take instead, in turns, on the same servers.

`python -m bench.backlog --help` says what can be asked of it; README.md says what the figures mean.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Console

from bench.command import attempt, positive
from bench.contenders.contender import Contender
from bench.contenders.kafka_connect import DEBEZIUM_VERSION
from bench.contenders.quix_environment import quix_version
from bench.contenders.roster import CONTENDERS
from bench.events import CODE_COUNT, PARTITION_COUNT, USER_COUNT, Backlog, load_backlog
from bench.measure import Measurement, measure
from bench.report import Result, machine, to_table, versions, write
from bench.services import Services, running_services
from sandbox.interrupts import Interrupts

NAME: Final = "backlog"
TOPIC: Final = "referral-usages"
EVENT_MIN_COUNT: Final = 20_000
OTHER_VERSIONS: Final = {"Debezium": DEBEZIUM_VERSION, "quix-streams": quix_version()}
QUIET_LOAD_MAX: Final = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """What a person can ask of a run."""

    event_count: int
    round_count: int
    contenders: Sequence[Contender]
    is_written: bool


def run(options: Options, console: Console, interrupts: Interrupts) -> Result:
    """
    Compare the contenders and return what was found; nothing that was started runs afterwards.

    Raises:
        SandboxError: a server or a contender failed, or a contender did not store everything.
    """
    load_before = os.getloadavg()[0]
    if load_before > QUIET_LOAD_MAX:
        console.print(f"[yellow]the machine is busy (load {load_before:.1f}): figures will be low and spread wide")
    for contender in options.contenders:
        if contender.prepare:
            console.print(f"preparing {contender.name}, which takes a minute the first time ...")
            contender.prepare()
    with running_services() as services:
        try:
            backlogs = _load(options, services, console)
            measurements = []
            for number in range(1, options.round_count + 1):
                for contender in _turns(options.contenders, number):
                    taken = measure(contender, backlogs[_event_count_of(contender, options)], services, number)
                    console.print(f"round {number}: {_said(taken)}", highlight=False, soft_wrap=True)
                    measurements.append(taken)
            return Result(
                date=datetime.now(UTC).date().isoformat(),
                command=shlex.join(["python", "-m", "bench.backlog", *sys.argv[1:]]),
                event_count=options.event_count,
                code_count=CODE_COUNT,
                user_count=USER_COUNT,
                partition_count=PARTITION_COUNT,
                round_count=options.round_count,
                machine=machine(),
                load_before=round(load_before, 1),
                versions=versions(services.postgres_version()) | OTHER_VERSIONS,
                measurements=measurements,
            )
        finally:
            interrupts.begin_stop()


def _load(options: Options, services: Services, console: Console) -> dict[int, Backlog]:
    """Load a topic for each number of events that some contender takes, the first events of the same ones."""
    backlogs = {}
    for event_count in sorted({_event_count_of(contender, options) for contender in options.contenders}):
        console.print(f"loading {event_count:,} events into {PARTITION_COUNT} partitions ...")
        topic = f"{TOPIC}-{event_count}"
        backlogs[event_count] = load_backlog(services.kafka.bootstrap_servers, topic, event_count)
    return backlogs


def _event_count_of(contender: Contender, options: Options) -> int:
    return min(options.event_count, contender.event_max_count or options.event_count)


def _turns(contenders: Sequence[Contender], round_number: int) -> Sequence[Contender]:
    # whoever comes first in a round meets another machine than whoever comes last: they take turns
    return contenders if round_number % 2 else contenders[::-1]


def _said(taken: Measurement) -> str:
    return (
        f"{taken.contender} {taken.events_per_s:,.0f} events/s in {taken.drain_s:.1f} s, "
        f"{taken.transaction_count} transactions, {taken.total_s:.1f} s from its start"
    )


def _read_options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench.backlog", description=__doc__.split("\n\n")[0])
    parser.add_argument("--events", type=_event_count, metavar="N", help="events in the backlog (400,000)")
    parser.add_argument("--rounds", type=positive, metavar="N", help="how often each contender runs (5)")
    names = {contender.slug: contender for contender in CONTENDERS}
    parser.add_argument(
        "--only", nargs="+", choices=names, default=list(names), metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--quick", action="store_true", help="100,000 events and one round, unless said otherwise")
    parser.add_argument("--write", action="store_true", help="write results/backlog.*, and the table in README.md")
    given = parser.parse_args(arguments)
    events, rounds = (100_000, 1) if given.quick else (400_000, 5)
    chosen = [names[name] for name in names if name in given.only]
    return Options(given.events or events, given.rounds or rounds, chosen, given.write)


def _event_count(text: str) -> int:
    number = positive(text)
    if number < EVENT_MIN_COUNT:
        raise argparse.ArgumentTypeError(f"fewer than {EVENT_MIN_COUNT:,} events make too few transactions for a rate")
    return number


def main() -> int:
    """Run the comparison and return the exit code."""
    options = _read_options(sys.argv[1:])
    console = Console()

    def work() -> None:
        result = run(options, console, Interrupts())
        console.print(to_table(result))
        if options.is_written:
            for path in write(result, NAME):
                console.print(f"written: {path.name}")

    return attempt(work, console)


if __name__ == "__main__":
    sys.exit(main())
