"""What the system has counted so far: who used the processor, what held it up.

What cannot be read is 0, never guessed. The files are Linux's.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.machines.cgroup import held_by_quota_s
from ponas_deploy.machines.system_files import ROOT, own_cores, read_numbers, read_text


@dataclass(frozen=True)
class Counters:
    """What was counted until `at_s` (of a clock that only goes forward), in seconds.

    `busy_s` is of all processes on the cores this one may use, `own_s` of this one and of those that it
    started and that have ended, `stolen_s` what a hypervisor took of those cores. `quota_s` is how long the
    container's quota held its processes up, `asleep_s` how long the machine was suspended, `hot` how often a
    core was slowed down for heat.
    """

    at_s: float = 0.0
    cores: int = 1
    busy_s: float = 0.0
    own_s: float = 0.0
    stolen_s: float = 0.0
    quota_s: float = 0.0
    asleep_s: float = 0.0
    hot: int = 0


def read_counters(root: Path = ROOT) -> Counters:
    """Read what was counted so far."""
    cores = own_cores()
    busy_s, stolen_s = _processor_time_s(root, cores)
    counted = os.times()
    return Counters(
        at_s=time.monotonic(),
        cores=len(cores),
        busy_s=busy_s,
        own_s=time.process_time() + counted.children_user + counted.children_system,
        stolen_s=stolen_s,
        quota_s=held_by_quota_s(root),
        asleep_s=_asleep_s(),
        hot=sum(read_numbers(root, "sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")),
    )


def _processor_time_s(root: Path, cores: tuple[int, ...]) -> tuple[float, float]:
    """Seconds that some cores worked for anybody, and that a hypervisor took from them (man 5 proc_stat)."""
    lines = re.findall(r"^cpu(\d+) (.*)$", read_text(root / "proc/stat"), re.MULTILINE)
    ticks = [list(map(int, line.split())) for number, line in lines if int(number) in cores]
    if not ticks:
        return 0.0, 0.0
    user, nice, system, _, _, irq, softirq, stolen, *_ = map(sum, zip(*ticks))
    a_second = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / a_second, stolen / a_second


def _asleep_s() -> float:
    """How long the machine was suspended: Linux's one clock goes on then, the other does not."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
