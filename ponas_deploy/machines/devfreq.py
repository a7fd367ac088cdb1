"""The clock of a GPU that the kernel governs (a Jetson's, an ARM board's): /sys/class/devfreq, without root.

Orin's NVML says nothing of it. Source: https://docs.kernel.org/driver-api/devfreq.html; the names of Jetson's
GPUs are those of its device trees (gv11b Xavier, gp10b TX2, ga10b Orin, gb10b and gpu-gpc-0 Thor).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.machines.system_files import ROOT, read_text

_NAMES = re.compile(r"gv11b|gp10b|ga10b|gb10b|gpu")


@dataclass(frozen=True)
class GpuClock:
    """The clock now, and those that its governor may choose from, in MHz.

    `spent_ms` are milliseconds at each clock since the start, as (MHz, ms); empty where nobody counts them.
    """

    now_mhz: float
    least_mhz: float
    most_mhz: float
    governor: str = ""
    spent_ms: tuple[tuple[float, float], ...] = ()

    @property
    def locked(self) -> bool:
        """Whether there is nothing to choose."""
        return self.least_mhz == self.most_mhz

    @property
    def range(self) -> str:
        """`306-1020 MHz`, or `1020 MHz` where it is locked."""
        return f"{'' if self.locked else f'{self.least_mhz:.0f}-'}{self.most_mhz:.0f} MHz"

    def mean_since(self, before: GpuClock) -> float | None:
        """The mean clock in MHz between two readings; None where the time at each clock is not counted."""
        earlier = dict(before.spent_ms)
        spent = [(mhz, ms - earlier.get(mhz, 0.0)) for mhz, ms in self.spent_ms]
        total_ms = sum(ms for _, ms in spent)
        return sum(mhz * ms for mhz, ms in spent) / total_ms if earlier and total_ms > 0 else None


def read_gpu_clock(root: Path = ROOT) -> GpuClock | None:
    """The clock of the first such GPU; None where there is none."""
    for folder in sorted(root.glob("sys/class/devfreq/*")):
        if not _NAMES.search(read_text(folder / "device/of_node/name").rstrip("\0") or folder.name):
            continue
        clocks = [read_text(folder / which) for which in ("cur_freq", "min_freq", "max_freq")]
        if all(re.fullmatch(r"\d+", clock) for clock in clocks):
            now, least, most = (int(clock) / 1e6 for clock in clocks)
            return GpuClock(now, least, most, read_text(folder / "governor"), _spent_ms(folder))
    return None


def _spent_ms(folder: Path) -> tuple[tuple[float, float], ...]:
    """The last column of the transition table: a row a clock, `* 306000000:  0  5  7  1234`."""
    rows = re.findall(r"^\s*\*?\s*(\d+):(?:.*\s)?(\d+)$", read_text(folder / "trans_stat"), re.MULTILINE)
    return tuple((int(hertz) / 1e6, float(ms)) for hertz, ms in rows)
