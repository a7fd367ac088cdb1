"""What this machine is, and in what state: everything a CPU latency depends on and that can be read.

`Machine` stays as it is while measuring; `Reading` is one look at what changes (load, clock,
temperature). What cannot be read is empty or None, never guessed. The files are Linux's; elsewhere
psutil and the platform module answer what they can.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

from ponas_deploy.store import slug

ROOT = Path("/")
_MIB = 1 << 20
# What a processor's name says besides what it is: "Intel(R) Xeon(R) CPU @ 2.20GHz", "8-Core Processor".
_NOISE = re.compile(r"\((?:R|TM|C)\)|@.*$|\b\d+-Core\b|\bProcessor\b|\bCPU\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor and what of it this process may use.

    `cores` is the smaller of the cores it may run on and the container's quota (`quota_cores`, None
    without one), rounded up.
    """

    processor: str
    architecture: str
    cores: int
    quota_cores: float | None
    memory_mib: int
    os: str
    python: str

    @property
    def name(self) -> str:
        """The device as tables and folders name it: `amd-epyc-2c`."""
        return f"{slug(_NOISE.sub(' ', self.processor)) or slug(self.architecture)}-{self.cores}c"

    def environment(self) -> tuple[tuple[str, str], ...]:
        """What stays as it is while measuring, as (name, value)."""
        values = {
            "processor": self.processor,
            "architecture": self.architecture,
            "cores": self.cores,
            "quota_cores": self.quota_cores,
            "memory_mib": self.memory_mib,
            "os": self.os,
            "python": self.python,
        }
        return tuple((name, str(value)) for name, value in values.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the state of the machine; what it does not tell is empty or None."""

    load: float | None = None
    governor: str = ""
    frequency_mhz: float | None = None
    temperature_c: float | None = None

    def conditions(self) -> tuple[tuple[str, str], ...]:
        """What changes from round to round, as (name, value); what is not known is left out."""
        values = {
            "load": None if self.load is None else f"{self.load:.2f}",
            "governor": self.governor or None,
            "frequency_mhz": None if self.frequency_mhz is None else f"{self.frequency_mhz:.0f}",
            "temperature_c": None if self.temperature_c is None else f"{self.temperature_c:.0f}",
        }
        return tuple((name, value) for name, value in values.items() if value is not None)


@cache
def this_machine() -> Machine:
    """The machine this process runs on."""
    return describe_machine(ROOT)


def describe_machine(root: Path = ROOT) -> Machine:
    """Read a machine from the files below `root`."""
    quota = quota_cores(root)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        processor=processor_name(root),
        architecture=platform.machine(),
        cores=max(1, min(cores, ceil(quota or cores))),
        quota_cores=quota,
        memory_mib=memory_mib("total"),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def read_conditions(root: Path = ROOT) -> Reading:
    """Read the state of the machine now."""
    governor = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return Reading(
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        governor=_text(governor),
        frequency_mhz=_frequency_mhz(root),
        temperature_c=_temperature_c(root),
    )


def memory_mib(kind: str) -> int:
    """The machine's memory in MiB: "total", or "available" now without swapping."""
    import psutil

    return int(getattr(psutil.virtual_memory(), kind)) // _MIB


def processor_name(root: Path = ROOT) -> str:
    """The processor as it calls itself, or the board it is on; the architecture when nothing says more."""
    match = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    if match:
        return match.group(1).strip()
    board = _text(root / "proc/device-tree/model").rstrip("\0").strip()
    return board or _macos_processor() or platform.processor() or platform.machine()


def quota_cores(root: Path = ROOT) -> float | None:
    """Cores that the control group of this container allows, None where it sets no limit."""
    limit = _text(root / "sys/fs/cgroup/cpu.max").split()
    if len(limit) != 2:
        limit = [_text(root / f"sys/fs/cgroup/cpu/cpu.cfs_{part}_us") for part in ("quota", "period")]
    try:
        quota, period = (float(part) for part in limit)
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _frequency_mhz(root: Path) -> float | None:
    scaling = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    if scaling.isdigit():
        return int(scaling) / 1000
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return max(map(float, clocks)) if clocks else None


def _temperature_c(root: Path) -> float | None:
    """The hottest thermal zone."""
    readings = [_text(zone) for zone in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    degrees = [int(reading) / 1000 for reading in readings if reading.lstrip("-").isdigit()]
    return max(degrees, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _macos_processor() -> str:
    if platform.system() != "Darwin":
        return ""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
