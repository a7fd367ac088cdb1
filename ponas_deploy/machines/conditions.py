"""The conditions a machine works under at this moment: load, governor, clock, temperature, what throttles it.

What cannot be read is empty or None, never guessed. The files are Linux's.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.machines.devfreq import GpuClock, read_gpu_clock
from ponas_deploy.machines.system_files import ROOT, own_cores, read_numbers, read_text

# Bits of the firmware's flags: https://www.raspberrypi.com/documentation/computers/os.html (get_throttled).
_PI_FLAGS = {0x1: "under-voltage", 0x2: "clock capped", 0x4: "throttled", 0x8: "soft temperature limit"}
_SINCE_BOOT = 16
"""So many bits further up stands what was so since the board was started."""
_VCGENCMD_S = 5
CLOCK_SETTINGS = ("governor", "gpu_clocks")
"""What of `Reading.conditions` says how the clocks are set: it stays so until somebody sets it again."""
_NO_HEAT = "pmic"
"""In the type of a sensor that says 100 degrees always (PMIC-Die of a Jetson)."""


@dataclass(frozen=True)
class Reading:
    """The state of the machine at one moment; what it does not report is empty or None.

    `affinity` are the cores this process may run on, as in "0-3,6"; the clock is the fastest of theirs.
    `governor` is that of all cores, or each of them, as in "performance, schedutil", where they differ.
    `throttle` names what holds the processor back at this moment, `throttled_before` what did so at any time
    since the machine was started, where it tells. `gpu_clock` is that of a GPU which the kernel governs.
    """

    load: float | None = None
    governor: str = ""
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    affinity: str = ""
    throttle: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    gpu_clock: GpuClock | None = None

    def conditions(self) -> tuple[tuple[str, str], ...]:
        """What changes from round to round, as (name, value); what is not known is left out."""
        gpu = self.gpu_clock
        values = {
            "load": None if self.load is None else f"{self.load:.2f}",
            "governor": self.governor or None,
            "frequency_mhz": None if self.frequency_mhz is None else f"{self.frequency_mhz:.0f}",
            "temperature_c": None if self.temperature_c is None else f"{self.temperature_c:.0f}",
            "affinity": self.affinity or None,
            "throttle": ", ".join(self.throttle) or None,
            "throttled_before": ", ".join(self.throttled_before) or None,
            "gpu_clock_mhz": None if gpu is None else f"{gpu.now_mhz:.0f}",
            "gpu_clocks": None if gpu is None else gpu.range,
            "gpu_governor": None if gpu is None else gpu.governor or None,
        }
        return tuple((name, value) for name, value in values.items() if value is not None)


def read_conditions(root: Path = ROOT) -> Reading:
    """Read the state of the machine now."""
    flags = _pi_flags(root)
    return Reading(
        load=_load(),
        governor=", ".join(_governors(root)),
        frequency_mhz=_frequency_mhz(root),
        temperature_c=_temperature_c(root),
        affinity=_ranges(own_cores()),
        throttle=_named(flags),
        throttled_before=_named(flags >> _SINCE_BOOT),
        gpu_clock=read_gpu_clock(root),
    )


def _governors(root: Path) -> list[str]:
    """Those of the processor's clocks, each once: big and little cores have a policy of their own."""
    cores = root / "sys/devices/system/cpu"
    files = [*cores.glob("cpufreq/policy*/scaling_governor")] or cores.glob("cpu*/cpufreq/scaling_governor")
    return sorted({text for text in map(read_text, files) if text})


def _load() -> float | None:
    """The processes that ran or waited during the last minute, on average."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows; a container without /proc
        return None


def clock_settings(conditions: Mapping[str, str]) -> dict[str, str]:
    """How the clocks are set, out of those of `Reading.conditions`; what could not be read is left out."""
    return {name: conditions[name] for name in CLOCK_SETTINGS if name in conditions}


def is_jetson(conditions: Mapping[str, str], power_mode: str = "") -> bool:
    """Whether these are of a Jetson: by its power mode, or where a container hides that by its governor."""
    return power_mode.startswith("nvpmodel") or conditions.get("gpu_governor", "").startswith("nvhost")


def what_to_lock(
    conditions: Mapping[str, str], power_mode: str = "", *, where: str = " there", gpu_only: bool = False
) -> tuple[str, ...]:
    """What of a machine's clocks follows its load, a sentence each, with the command that ends it.

    `conditions` are those of `Reading.conditions`. The commands take root: they are for people. `where` is
    the word for the machine in them, `gpu_only` leaves the processor out.
    """
    jetson = is_jetson(conditions, power_mode)
    found: list[str] = []
    governor, gpu = conditions.get("governor", ""), conditions.get("gpu_clocks", "")
    if "-" in gpu and jetson:
        found.append(
            f"the GPU's clock is not locked ({gpu}, governor {conditions.get('gpu_governor', 'unknown')}), so"
            f" that latencies follow the load: `sudo jetson_clocks`{where} locks it, at the highest clock of"
            f" {f'power mode {power_mode}' if power_mode else 'the power mode'}."
        )
    if governor not in ("", "performance") and not gpu_only:
        command = "sudo jetson_clocks" if jetson else "sudo cpupower frequency-set -g performance"
        if ", " in governor:
            is_so = f"the cores' governors differ ({governor}), so that the clock of some follows the load"
        else:
            is_so = f"the governor is {governor}, so that the clock follows the load"
        found.append(f"{is_so}: `{command}`{where} ends that.")
    return tuple(found)


def _named(flags: int) -> tuple[str, ...]:
    """What the flags of a Raspberry Pi say holds it back."""
    return tuple(text for bit, text in _PI_FLAGS.items() if flags & bit)


def _pi_flags(root: Path) -> int:
    """The flags of a Raspberry Pi's firmware: from its file, else from its program; 0 elsewhere."""
    text = read_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if not text and read_text(root / "proc/device-tree/model").startswith("Raspberry Pi"):
        text = _vcgencmd()
    found = re.fullmatch("(?:throttled=)?(?:0x)?([0-9a-fA-F]+)", text)
    return int(found.group(1), 16) if found else 0


def _vcgencmd() -> str:
    """What the firmware's program says; empty without it, or outside the group `video`."""
    try:
        done = subprocess.run(
            ("vcgencmd", "get_throttled"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_VCGENCMD_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def _frequency_mhz(root: Path) -> float | None:
    """The fastest clock among the cores this process may run on."""
    names = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    scaling = [number for core in own_cores() for number in read_numbers(root, names.format(core))]
    if scaling:
        return max(scaling) / 1000
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", read_text(root / "proc/cpuinfo"), re.MULTILINE)
    return max(map(float, clocks)) if clocks else None


def _temperature_c(root: Path) -> float | None:
    """The hottest thermal zone; not those that are no thermometer."""
    zones = root.glob("sys/class/thermal/thermal_zone*")
    hot = (zone for zone in zones if _NO_HEAT not in read_text(zone / "type").lower())
    degrees = [number for zone in hot for number in read_numbers(zone, "temp")]
    return max(degrees) / 1000 if degrees else None


def _ranges(numbers: tuple[int, ...]) -> str:
    """Ascending numbers as in "0-3,6"."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    pairs = zip(starts, ends)
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in pairs)
