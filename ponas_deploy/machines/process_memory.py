"""What memory a process holds: its peak resident set, and what it holds of a GPU's memory.

The peak is Linux's VmHWM (man 5 proc_pid_status), which begins anew with each program. `ru_maxrss` does not:
a process inherits it from the one that started it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ponas_deploy.machines.nvidia import handle_of
from ponas_deploy.machines.system_files import ROOT, read_text


@dataclass(frozen=True)
class MemoryTaken:
    """The memory of a process that ran an engine, in bytes: its peak resident set when it had run it.

    `runtime_bytes` is the peak of the same process when it had imported the runtime and opened nothing.
    `gpu_bytes` is what it then held of the GPU's memory, 0 where nothing says that.
    """

    peak_bytes: int
    runtime_bytes: int
    gpu_bytes: int = 0

    def __post_init__(self) -> None:
        if min(self.runtime_bytes, self.gpu_bytes) < 0 or not 0 < self.peak_bytes < 1 << 53:
            raise ValueError("memory: expected a peak above 0 bytes, and nothing below 0.")

    @property
    def engine_bytes(self) -> int:
        """What the engine takes beyond the runtime: the peak with it less the peak without it."""
        return max(0, self.peak_bytes - self.runtime_bytes)


def peak_resident_bytes(root: Path = ROOT) -> int:
    """The largest resident set of this process so far; 0 where the system does not say it."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", read_text(root / "proc/self/status"), re.MULTILINE)
    return 1024 * int(found.group(1)) if found else 0


def gpu_memory_bytes(uuid: str = "") -> int:
    """What this process holds now of the memory of a GPU ("GPU-...", else the first); 0 where NVML does
    not say it, as in a container with process numbers of its own and on a Jetson."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return 0
    try:
        nvml.nvmlInit()
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle_of(nvml, uuid))
    except nvml.NVMLError:
        return 0
    return sum(int(one.usedGpuMemory or 0) for one in processes if one.pid == os.getpid())
