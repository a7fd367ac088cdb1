"""What this machine is: the processor, what of it this process may use, its memory and power mode.

All that stays as it is while measuring and that a CPU latency depends on. What cannot be read is empty, None
or 0, never guessed. The files are Linux's; elsewhere psutil and the platform module answer what they can.
"""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

from ponas_deploy.machines.cgroup import free_memory_bytes, quota_cores
from ponas_deploy.machines.names import slug
from ponas_deploy.machines.system_files import ROOT, own_cores, read_text

_MIB = 1 << 20
# What a processor's name says besides what it is: "Intel(R) Xeon(R) CPU @ 2.20GHz", "8-Core Processor".
_NOISE = re.compile(r"\((?:R|TM|C)\)|@.*$|\b\d+-Core\b|\bProcessor\b|\bCPU\b", re.IGNORECASE)
# Keys of /proc/cpuinfo: those of an x86, then those of an ARM core.
_MODEL = {"cpu family": "family", "model": "model", "CPU implementer": "implementer", "CPU part": "part"}
# Vector and matrix instructions, under the key that an x86 lists them by, and an ARM.
_VECTORS = {"flags": r"sse4_2|fma|avx\w*|amx_\w+", "Features": r"neon|asimd\w*|i8mm|bf16|sve\w*|sme\w*"}


@dataclass(frozen=True)
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


@lru_cache(maxsize=None)
def this_machine() -> Machine:
    """The machine this process runs on."""
    return describe_machine(ROOT)


def describe_machine(root: Path = ROOT) -> Machine:
    """Read a machine from the files below `root`."""
    quota = quota_cores(root)
    cores = len(own_cores())
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


def threads_fault(threads: int) -> str:
    """What is wrong with so many threads of a runtime on this machine, for people; empty when nothing is.

    More than the processors that this process may use wait for each other: one run takes seconds then.
    """
    machine, affinity = this_machine(), len(own_cores())
    if threads <= machine.cores:
        return ""
    quota = "no quota" if machine.quota_cores is None else f"quota {machine.quota_cores:g}"
    counted = f"{machine.cores} processor{'' if machine.cores == 1 else 's'}"
    return (
        f"{threads} threads were asked for, and this process may use {counted} (affinity {affinity},"
        f" {quota}): ask for {machine.cores} or fewer."
    )


def memory_mib(kind: str) -> int:
    """The machine's memory in MiB: "total", or "available" now, without swapping and to this container."""
    try:
        import psutil
    except ImportError:  # boards have none
        found = _memory_bytes(kind)
    else:
        found = int(getattr(psutil.virtual_memory(), kind))
    allowed = free_memory_bytes() if kind == "available" else None
    return max(0, min(found, found if allowed is None else allowed)) // _MIB


def _memory_bytes(kind: str, root: Path = ROOT) -> int:
    """The memory as Linux counts it, 0 where nothing says so."""
    counted = re.search(rf"^Mem{kind.title()}:\s+(\d+) kB$", read_text(root / "proc/meminfo"), re.MULTILINE)
    return int(counted.group(1)) << 10 if counted else 0


def power_mode(root: Path = ROOT) -> str:
    """The power mode somebody chose: a Jetson's (nvpmodel) or a laptop's platform profile; else empty."""
    chosen = re.search(r"pmode:0*(\d+)", read_text(root / "var/lib/nvpmodel/status"))
    if not chosen:
        return read_text(root / "sys/firmware/acpi/platform_profile")
    number = chosen.group(1)
    models = read_text(root / "etc/nvpmodel.conf")
    named = re.search(rf"POWER_MODEL\s+ID=0*{number}\s+NAME=([^\s>]+)", models)
    return f"nvpmodel {number}{f' ({named.group(1)})' if named else ''}"


def processor_name(root: Path = ROOT) -> str:
    """The processor as it calls itself, or the board it is on; the architecture when nothing says more."""
    if named := _of_processor(root, "model name"):
        return named
    board = read_text(root / "proc/device-tree/model").rstrip("\0").strip()
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
    match = re.search(rf"^{key}[ \t]*:[ \t]*(.+)$", read_text(root / "proc/cpuinfo"), re.MULTILINE)
    return match.group(1).strip() if match else ""


def _macos_processor() -> str:
    if platform.system() != "Darwin":
        return ""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
