"""What a server's processes use, from /proc: the one that was started and all it has started."""

from __future__ import annotations

import os
import re
from pathlib import Path

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """This process, its children, theirs, and so on."""
    found = [pid]
    for parent in found:  # grows as it goes
        found += _children(parent)
    return found


def cpu_ms(pid: int) -> float:
    """Milliseconds of processor time that the family has used so far, also by those of it that
    have ended and were waited for."""
    return sum(map(_cpu_ticks, family(pid))) * TICK_MS


def resident_mb(pid: int) -> float:
    """Resident memory of the family; what its processes share counts in each."""
    return sum(map(_resident_kb, family(pid))) / 1024


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:  # each thread has its own
        for listed in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, listed.read_text().split())
    except OSError:
        pass  # it has ended
    return found


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))  # in user and in system mode, and children's of both


def _resident_kb(pid: int) -> int:
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0
