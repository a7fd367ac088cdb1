"""What memory a process holds: its peak resident set, and what it holds of a GPU's memory.

The peak is Linux's VmHWM (man 5 proc_pid_status), which begins anew with each program. `ru_maxrss` does not:
a process inherits it from the one that started it.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from ponas_deploy.machines.nvidia import handle_of
from ponas_deploy.machines.system_files import ROOT, read_text


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
