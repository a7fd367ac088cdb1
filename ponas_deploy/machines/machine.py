"""What this machine is, and in what state: everything a CPU latency depends on and that can be read.

`Machine` stays as it is while measuring; `Reading` is one look at what changes (load, clock,
temperature), `Counters` what the system has counted so far (who used the processor, what held it up).
What cannot be read is empty, None or 0, never guessed. The files are Linux's; elsewhere psutil and the
platform module answer what they can.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

from ponas_deploy.machines.cgroup import free_memory_bytes, held_by_quota_s, quota_cores
from ponas_deploy.machines.names import slug

ROOT = Path("/")
_MIB = 1 << 20
# What a processor's name says besides what it is: "Intel(R) Xeon(R) CPU @ 2.20GHz", "8-Core Processor".
_NOISE = re.compile(r"\((?:R|TM|C)\)|@.*$|\b\d+-Core\b|\bProcessor\b|\bCPU\b", re.IGNORECASE)
# Keys of /proc/cpuinfo: those of an x86, then those of an ARM core.
_MODEL = {"cpu family": "family", "model": "model", "CPU implementer": "implementer", "CPU part": "part"}
# Vector and matrix instructions, under the key that an x86 lists them by, and an ARM.
_VECTORS = {"flags": r"sse4_2|fma|avx\w*|amx_\w+", "Features": r"neon|asimd\w*|i8mm|bf16|sve\w*|sme\w*"}


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor and what of it this process may use.

    `cores` is the smaller of the cores it may run on and the container's quota (`quota_cores`, None
    without one), rounded up. `processor` is the name it gives itself, which a virtual machine may shorten to
    that of five generations; `model` is the maker's number of it, `instruction_sets` those that runtimes pick
    kernels by.
    """

    processor: str
    architecture: str
    cores: int
    quota_cores: float | None
    memory_mib: int
    os: str
    python: str
    power_mode: str = ""
    model: str = ""
    instruction_sets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The device as tables and folders name it: `amd-epyc-2c`."""
        return f"{slug(_NOISE.sub(' ', self.processor)) or slug(self.architecture)}-{self.cores}c"

    def environment(self) -> tuple[tuple[str, str], ...]:
        """What stays as it is while measuring, as (name, value)."""
        values = {
            "processor": self.processor,
            "processor_model": self.model or None,
            "instruction_sets": " ".join(self.instruction_sets) or None,
            "architecture": self.architecture,
            "cores": self.cores,
            "quota_cores": self.quota_cores,
            "memory_mib": self.memory_mib,
            "os": self.os,
            "python": self.python,
            "power_mode": self.power_mode or None,
        }
        return tuple((name, str(value)) for name, value in values.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the state of the machine; what it does not tell is empty or None.

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


@dataclass(frozen=True, slots=True)
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


@cache
def this_machine() -> Machine:
    """The machine this process runs on."""
    return describe_machine(ROOT)


def describe_machine(root: Path = ROOT) -> Machine:
    """Read a machine from the files below `root`."""
    quota = quota_cores(root)
    cores = len(_own_cores())
    return Machine(
        processor=processor_name(root),
        architecture=platform.machine(),
        cores=max(1, min(cores, ceil(quota or cores))),
        quota_cores=quota,
        memory_mib=memory_mib("total"),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        power_mode=power_mode(root),
        model=processor_model(root),
        instruction_sets=instruction_sets(root),
    )


def read_conditions(root: Path = ROOT) -> Reading:
    """Read the state of the machine now."""
    governor = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return Reading(
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        governor=_text(governor),
        frequency_mhz=_frequency_mhz(root),
        temperature_c=_temperature_c(root),
        affinity=_ranges(_own_cores()),
        throttle=_throttle(root),
    )


def read_counters(root: Path = ROOT) -> Counters:
    """Read what was counted so far."""
    cores = _own_cores()
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
        hot=sum(_numbers(root, "sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")),
    )


def memory_mib(kind: str) -> int:
    """The machine's memory in MiB: "total", or "available" now, without swapping and to this container."""
    import psutil

    found = int(getattr(psutil.virtual_memory(), kind))
    allowed = free_memory_bytes() if kind == "available" else None
    return max(0, min(found, found if allowed is None else allowed)) // _MIB


def power_mode(root: Path = ROOT) -> str:
    """The power mode somebody chose: a Jetson's (nvpmodel) or a laptop's platform profile; else empty."""
    chosen = re.search(r"pmode:0*(\d+)", _text(root / "var/lib/nvpmodel/status"))
    if not chosen:
        return _text(root / "sys/firmware/acpi/platform_profile")
    number = chosen.group(1)
    models = _text(root / "etc/nvpmodel.conf")
    named = re.search(rf"POWER_MODEL\s+ID=0*{number}\s+NAME=([^\s>]+)", models)
    return f"nvpmodel {number}{f' ({named.group(1)})' if named else ''}"


def processor_name(root: Path = ROOT) -> str:
    """The processor as it calls itself, or the board it is on; the architecture when nothing says more."""
    if named := _of_processor(root, "model name"):
        return named
    board = _text(root / "proc/device-tree/model").rstrip("\0").strip()
    return board or _macos_processor() or platform.processor() or platform.machine()


def processor_model(root: Path = ROOT) -> str:
    """The maker's number of a processor: family and model of an x86, implementer and part of an ARM core."""
    found = [(word, _of_processor(root, key)) for key, word in _MODEL.items()]
    return " ".join(f"{word} {number}" for word, number in found if number)


def instruction_sets(root: Path = ROOT) -> tuple[str, ...]:
    """Those of the processor's flags that runtimes pick kernels by, in the order of the alphabet."""
    found = ((flag, names) for key, names in _VECTORS.items() for flag in _of_processor(root, key).split())
    return tuple(sorted(flag for flag, names in found if re.fullmatch(names, flag)))


def _of_processor(root: Path, key: str) -> str:
    """What the first core says of itself under a key of /proc/cpuinfo, empty where it says nothing."""
    match = re.search(rf"^{key}[ \t]*:[ \t]*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return match.group(1).strip() if match else ""


def _own_cores() -> tuple[int, ...]:
    """The cores this process may run on."""
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return tuple(sorted(own))


def _ranges(numbers: tuple[int, ...]) -> str:
    """Ascending numbers as in "0-3,6"."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    pairs = zip(starts, ends, strict=True)
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in pairs)


def _processor_time_s(root: Path, cores: tuple[int, ...]) -> tuple[float, float]:
    """Seconds that some cores worked for anybody, and that a hypervisor took from them (man 5 proc_stat)."""
    lines = re.findall(r"^cpu(\d+) (.*)$", _text(root / "proc/stat"), re.MULTILINE)
    ticks = [list(map(int, line.split())) for number, line in lines if int(number) in cores]
    if not ticks:
        return 0.0, 0.0
    user, nice, system, _, _, irq, softirq, stolen, *_ = map(sum, zip(*ticks, strict=True))
    a_second = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / a_second, stolen / a_second


def _asleep_s() -> float:
    """How long the machine was suspended: Linux's one clock goes on then, the other does not."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


# Bits of the firmware's flags: https://www.raspberrypi.com/documentation/computers/os.html (get_throttled).
_PI_FLAGS = {0x1: "under-voltage", 0x2: "clock capped", 0x4: "throttled", 0x8: "soft temperature limit"}


def _throttle(root: Path) -> tuple[str, ...]:
    """What a Raspberry Pi says holds it back at this moment."""
    flags = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    mask = int(flags, 16) if re.fullmatch("[0-9a-fA-F]+", flags) else 0
    return tuple(text for bit, text in _PI_FLAGS.items() if mask & bit)


def _frequency_mhz(root: Path) -> float | None:
    """The fastest clock among the cores this process may run on."""
    names = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    scaling = [number for core in _own_cores() for number in _numbers(root, names.format(core))]
    if scaling:
        return max(scaling) / 1000
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return max(map(float, clocks)) if clocks else None


def _temperature_c(root: Path) -> float | None:
    """The hottest thermal zone."""
    degrees = _numbers(root, "sys/class/thermal/thermal_zone*/temp")
    return max(degrees) / 1000 if degrees else None


def _numbers(root: Path, pattern: str) -> list[int]:
    """The whole numbers in the files that match, those that hold one."""
    texts = (_text(path) for path in root.glob(pattern))
    return [int(text) for text in texts if re.fullmatch(r"-?\d+", text)]


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
