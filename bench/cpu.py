"""CPU time that processes and their children have used, from /proc."""

import os
from pathlib import Path
from typing import NamedTuple


class _Process(NamedTuple):
    parent: int
    ticks: int


def cpu_s(pid: int) -> float | None:
    """
    Return the user and system time, in seconds, of a process and all its descendants, ended ones included.

    An ended one counts as long as its parent waited for it and runs or was itself waited for; so the difference of two
    readings is what was used between them, whoever came and went. None where /proc is not there, as on macOS: no figure
    rather than another one.
    """
    processes = _processes()
    if pid not in processes:
        return None
    ticks, parents = 0, {pid}
    while parents:
        ticks += sum(processes[number].ticks for number in parents)
        parents = {number for number, process in processes.items() if process.parent in parents}
    return ticks / os.sysconf("SC_CLK_TCK")


def _processes() -> dict[int, _Process]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            # gone since it was listed
            continue
        # "pid (name) state parent ...", and the name may hold anything; fields 14 to 17 are user and system time, its
        # own and that of children it has waited for
        fields = text.rpartition(")")[2].split()
        found[int(stat.parent.name)] = _Process(int(fields[1]), sum(map(int, fields[11:15])))
    return found
