"""The conditions a machine works under at this moment: load, governor, clock, temperature, what throttles it.

What cannot be read is empty or None, never guessed. The files are Linux's.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.machines.system_files import ROOT, own_cores, read_numbers, read_text

# Bits of the firmware's flags: https://www.raspberrypi.com/documentation/computers/os.html (get_throttled).
_PI_FLAGS = {0x1: "under-voltage", 0x2: "clock capped", 0x4: "throttled", 0x8: "soft temperature limit"}


@dataclass(frozen=True)
class Reading:
    """The state of the machine at one moment; what it does not report is empty or None.

    `affinity` are the cores this process may run on, as in "0-3,6"; the clock is the fastest of theirs.
    `throttle` names what holds the processor back at this moment.
    """

    load: float | None = None
    governor: str = ""
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    affinity: str = ""
    throttle: tuple[str, ...] = ()

    def conditions(self) -> tuple[tuple[str, str], ...]:
        """What changes from round to round, as (name, value); what is not known is left out."""
        values = {
            "load": None if self.load is None else f"{self.load:.2f}",
            "governor": self.governor or None,
            "frequency_mhz": None if self.frequency_mhz is None else f"{self.frequency_mhz:.0f}",
            "temperature_c": None if self.temperature_c is None else f"{self.temperature_c:.0f}",
            "affinity": self.affinity or None,
            "throttle": ", ".join(self.throttle) or None,
        }
        return tuple((name, value) for name, value in values.items() if value is not None)


def read_conditions(root: Path = ROOT) -> Reading:
    """Read the state of the machine now."""
    governor = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return Reading(
        load=_load(),
        governor=read_text(governor),
        frequency_mhz=_frequency_mhz(root),
        temperature_c=_temperature_c(root),
        affinity=_ranges(own_cores()),
        throttle=_throttle(root),
    )


def _load() -> float | None:
    """The processes that ran or waited during the last minute, on average."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows; a container without /proc
        return None


def _throttle(root: Path) -> tuple[str, ...]:
    """What a Raspberry Pi says holds it back at this moment."""
    flags = read_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    mask = int(flags, 16) if re.fullmatch("[0-9a-fA-F]+", flags) else 0
    return tuple(text for bit, text in _PI_FLAGS.items() if mask & bit)


def _frequency_mhz(root: Path) -> float | None:
    """The fastest clock among the cores this process may run on."""
    names = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    scaling = [number for core in own_cores() for number in read_numbers(root, names.format(core))]
    if scaling:
        return max(scaling) / 1000
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", read_text(root / "proc/cpuinfo"), re.MULTILINE)
    return max(map(float, clocks)) if clocks else None


def _temperature_c(root: Path) -> float | None:
    """The hottest thermal zone."""
    degrees = read_numbers(root, "sys/class/thermal/thermal_zone*/temp")
    return max(degrees) / 1000 if degrees else None


def _ranges(numbers: tuple[int, ...]) -> str:
    """Ascending numbers as in "0-3,6"."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    pairs = zip(starts, ends)
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in pairs)
