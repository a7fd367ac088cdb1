"""This machine's NVIDIA GPU as a device: which one it is, what it is called, and what it says of itself.

The driver counts GPUs as CUDA does, and knows what CUDA_VISIBLE_DEVICES leaves; NVML counts by slot. So the
driver's own library says which GPU is the first one, and NVML is asked about that one by its UUID.
A GPU is asked for as `--device gpu` or by its name; its tables carry the name. On a Jetson that is the
board's, because boards of different speed have GPUs of one name. Files of a Jetson:
https://docs.nvidia.com/jetson (device tree, /etc/nv_tegra_release, /proc/driver/nvidia/version).
"""

from __future__ import annotations

import ctypes
import re
import sys
import uuid as uuids
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ponas_deploy.errors import PonasError
from ponas_deploy.machines import nvidia
from ponas_deploy.machines.devfreq import read_gpu_clock
from ponas_deploy.machines.nvidia import GpuReading, gpu_slug
from ponas_deploy.machines.system_files import ROOT, read_text

GPU = "gpu"
# cuda.h, CUdevice_attribute: multiprocessors, and the two parts of the compute capability.
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76


@dataclass(frozen=True)
class DriverGpu:
    """The first GPU that CUDA shows this process, as its driver describes it; what is not known is empty.

    `cuda` is the newest CUDA that the driver knows, as in "13.2".
    """

    name: str = ""
    uuid: str = ""
    multiprocessors: int = 0
    capability: tuple[int, int] | None = None
    cuda: str = ""


@lru_cache(maxsize=None)
def this_gpu(root: Path = ROOT) -> str:
    """The name of the first GPU that this process may use, as tables carry it: `nvidia-h200`; empty without.

    From the board's device tree, the driver's own library or NVML, whichever answers first: the driver needs
    no package, so that PyTorch alone is enough.
    """
    found = first_gpu()
    name = _jetson(found, root) or found.name or read_first_gpu(root).name
    return gpu_slug(name) if name else ""


def required_gpu() -> str:
    """The name of this machine's GPU; PonasError with what to check where none answers."""
    if name := this_gpu():
        return name
    raise PonasError(
        "no NVIDIA GPU answers here: check `nvidia-smi`, CUDA_VISIBLE_DEVICES and, in a container,"
        " `--gpus all`; nvidia-ml-py lets us read its clocks and heat (pip install nvidia-ml-py)."
    )


def read_gpu(uuid: str, name: str = "", root: Path = ROOT) -> GpuReading:
    """What the GPU of this UUID says of itself now; empty where nobody knows its `name`.

    NVML's reading; the kernel has the version of the driver, and a Jetson's clock, where NVML has not.
    """
    reading = nvidia.read_gpu(uuid)
    if not (name or reading.name):
        return GpuReading()
    clock = None if reading.sm_clock_mhz else read_gpu_clock(root)
    return replace(
        reading,
        name=name or reading.name,
        driver=reading.driver or kernel_driver(root),
        sm_clock_mhz=round(clock.now_mhz) if clock else reading.sm_clock_mhz,
    )


def read_first_gpu(root: Path = ROOT) -> GpuReading:
    """The same of the first GPU that CUDA shows this process; by the driver's name, where it has one."""
    found = first_gpu()
    reading = read_gpu(found.uuid or nvidia.visible_uuid(), found.name, root)
    return replace(reading, compute_capability=found.capability or reading.compute_capability)


def first_uuid() -> str:
    """The UUID of the first GPU that CUDA shows this process; empty where neither driver nor shell say it."""
    return first_gpu().uuid or nvidia.visible_uuid()


def engine_identity(found: DriverGpu, driver: str, root: Path = ROOT) -> dict[str, str]:
    """What of this machine an engine is bound to, by the names of its record, besides versions of runtimes.

    GPU and driver always, empty where they are not known; the others where they are. A `driver` that is not
    known is left out where the CUDA that it knows stands in.
    """
    capability = ".".join(map(str, found.capability or ()))
    more = {
        "multiprocessors": str(found.multiprocessors or ""),
        "compute_capability": capability,
        "board": _board(root) if is_jetson(root) else "",
        "l4t": _l4t(root),
        "cuda": found.cuda,
    }
    named = {"driver": driver} if driver or not found.cuda else {}
    return {"gpu": found.name, **named, **{name: value for name, value in more.items() if value}}


def first_gpu_identity(reading: GpuReading, root: Path = ROOT) -> dict[str, str]:
    """The same of the first GPU that CUDA shows this process; `reading` says what the driver does not."""
    found = first_gpu()
    capability = found.capability or reading.compute_capability
    found = replace(found, name=found.name or reading.name, capability=capability)
    return engine_identity(found, reading.driver, root)


def driver_library() -> Any:
    """The driver's own library, which is there wherever a driver is; OSError where it is not."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def first_gpu() -> DriverGpu:
    """Ask the driver; no context is made on the GPU. Empty without a driver or a GPU."""
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    try:
        driver = driver_library()
        failed = (
            driver.cuInit(0)
            or driver.cuDeviceGet(ctypes.byref(device), 0)
            or driver.cuDeviceGetName(name, len(name), device)
        )
    except (OSError, AttributeError):
        return DriverGpu()
    if failed:
        return DriverGpu()
    count, major, minor = (_attribute(driver, device, which) for which in (_MULTIPROCESSORS, _MAJOR, _MINOR))
    capability = (major, minor) if major else None
    name_text = name.value.decode(errors="replace")
    return DriverGpu(name_text, _uuid(driver, device), count, capability, _newest_cuda(driver))


def cuda_version(number: int) -> str:
    """CUDA's number of a version in words: 13020 is "13.2"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _newest_cuda(driver: Any) -> str:
    number = ctypes.c_int()
    try:
        failed = driver.cuDriverGetVersion(ctypes.byref(number))
    except AttributeError:
        return ""
    return "" if failed else cuda_version(number.value)


def _attribute(driver: Any, device: ctypes.c_int, which: int) -> int:
    """A number that the driver tells of a GPU; 0 where it does not."""
    value = ctypes.c_int()
    try:
        failed = driver.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    except AttributeError:
        return 0
    return 0 if failed else value.value


def _uuid(driver: Any, device: ctypes.c_int) -> str:
    """As NVML writes it; empty where the driver does not tell it."""
    found = (ctypes.c_ubyte * 16)()
    try:
        failed = driver.cuDeviceGetUuid(found, device)
    except AttributeError:
        return ""
    return "" if failed else f"GPU-{uuids.UUID(bytes=bytes(found))}"


def kernel_driver(root: Path = ROOT) -> str:
    """The version of the driver's kernel module, as in "540.4.0"; empty where there is none."""
    text = read_text(root / "proc/driver/nvidia/version")
    found = re.search(r"Kernel Module\b.*?\s(\d+(?:\.\d+)+)\s", f"{text} ")
    return found.group(1) if found else ""


def is_jetson(root: Path = ROOT) -> bool:
    """Whether this is a Jetson: by its device tree, or where a container hides that by its release file."""
    return "Jetson" in _board(root) or bool(_l4t(root))


def _board(root: Path) -> str:
    """The board by its device tree; empty where there is none, or a container hides it."""
    return read_text(root / "proc/device-tree/model").rstrip("\0").strip()


def _l4t(root: Path) -> str:
    """The release of Jetson Linux, as in "36.4.0": `# R36 (release), REVISION: 4.0, GCID: ...`."""
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", read_text(root / "etc/nv_tegra_release"))
    return ".".join(found.groups()) if found else ""


def _jetson(found: DriverGpu, root: Path) -> str:
    """What a Jetson is called; empty elsewhere.

    Its device tree says it, before JetPack 6 without the word; in a container that hides the tree it is the
    GPU with its multiprocessors, by which boards of one GPU differ.
    """
    if not is_jetson(root):
        return ""
    board = re.sub(r"\b(Developer Kit|Engineering Reference)\b.*", "", _board(root)).strip()
    if board:
        return board if "Jetson" in board else f"Jetson {re.sub(r'^NVIDIA ', '', board)}"
    units = f" {found.multiprocessors} SM" if found.multiprocessors else ""
    return f"Jetson {found.name}{units}" if found.name else ""
