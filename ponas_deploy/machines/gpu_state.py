"""What of an NVIDIA GPU changes measurements before any is made: its clocks at rest, who else is on it.

Through NVML, as `nvidia` reads it. It does not tell whether somebody locked the clocks (`nvidia-smi -lgc`); a
clock that is far below the highest while the GPU rests follows the load. A Jetson's clock is `devfreq`'s.
Source: https://docs.nvidia.com/deploy/nvml-api.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Iterable

from ponas_deploy.machines.gpu import first_uuid
from ponas_deploy.machines.nvidia import handle_of, read_gpu
from ponas_deploy.machines.system_files import ROOT, read_text

_MIB = 1 << 20


@dataclass(frozen=True)
class GpuProcess:
    """A process that has the GPU open, not this one; what is not told is empty or None."""

    number: int
    name: str = ""
    memory_mib: int | None = None

    @property
    def text(self) -> str:
        """`Xorg (4711, 88 MiB)`."""
        memory = f", {self.memory_mib} MiB" if self.memory_mib is not None else ""
        return f"{self.name or 'a process'} ({self.number}{memory})"


@dataclass(frozen=True)
class GpuState:
    """One reading of a GPU that rests; what NVML does not tell is None.

    `display` is whether a screen is driven by it, `persistent` whether the driver stays loaded between
    programs.
    """

    name: str
    sm_clock_mhz: int | None = None
    most_sm_clock_mhz: int | None = None
    persistent: bool | None = None
    display: bool | None = None
    processes: tuple[GpuProcess, ...] = ()


def read_gpu_state(root: Path = ROOT) -> GpuState | None:
    """The state of the GPU that this process would use; None without NVML or a GPU."""
    uuid = first_uuid()
    reading = read_gpu(uuid)
    if not reading.present:
        return None
    nvml: Any = import_module("pynvml")
    handle = handle_of(nvml, uuid)

    def ask(question: str, *arguments: Any) -> Any:
        try:
            return getattr(nvml, question)(handle, *arguments)
        except (nvml.NVMLError, AttributeError):
            return None

    kinds = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")
    return GpuState(
        name=reading.name,
        sm_clock_mhz=reading.sm_clock_mhz,
        most_sm_clock_mhz=ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
        persistent=_is_on(ask("nvmlDeviceGetPersistenceMode")),
        display=_is_on(ask("nvmlDeviceGetDisplayActive")),
        processes=_processes([one for kind in kinds for one in ask(kind) or ()], root),
    )


def _is_on(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _processes(running: Iterable[Any], root: Path) -> tuple[GpuProcess, ...]:
    """Each once, without this one; who computes and draws is in both lists."""
    found: dict[int, GpuProcess] = {}
    for one in running:
        if one.pid != os.getpid():
            memory = getattr(one, "usedGpuMemory", None)
            name = read_text(root / f"proc/{one.pid}/comm")
            found[one.pid] = GpuProcess(one.pid, name, None if memory is None else memory // _MIB)
    return tuple(found[number] for number in sorted(found))
