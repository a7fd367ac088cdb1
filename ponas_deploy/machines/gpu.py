"""This machine's NVIDIA GPU as a device: what it is called, whoever can tell.

A GPU is asked for as `--device gpu` or by its name; its tables carry the name. On a Jetson that is the
board's, because boards of different speed have GPUs of one name.
"""

from __future__ import annotations

import ctypes
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from ponas_deploy.errors import PonasError
from ponas_deploy.machines.nvidia import gpu_slug, read_gpu, visible_uuid
from ponas_deploy.machines.system_files import ROOT

GPU = "gpu"


@lru_cache(maxsize=None)
def this_gpu(root: Path = ROOT) -> str:
    """The name of the first GPU that this process may use, as tables carry it: `nvidia-h200`; empty without.

    From the board's device tree, NVML or the driver's own library, whichever answers first: the last needs no
    package, so that PyTorch alone is enough.
    """
    name = _jetson(root) or read_gpu(visible_uuid()).name or first_gpu_name()
    return gpu_slug(name) if name else ""


def required_gpu() -> str:
    """The name of this machine's GPU; PonasError with what to check where none answers."""
    if name := this_gpu():
        return name
    raise PonasError(
        "no NVIDIA GPU answers here: check `nvidia-smi`, CUDA_VISIBLE_DEVICES and, in a container,"
        " `--gpus all`; nvidia-ml-py lets us read its clocks and heat (pip install nvidia-ml-py)."
    )


def driver_library() -> Any:
    """The driver's own library, which is there wherever a driver is; OSError where it is not."""
    return ctypes.CDLL("libcuda.so.1")


def first_gpu_name() -> str:
    """What the driver calls the first GPU that CUDA shows this process; empty without one."""
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    try:
        driver = driver_library()
        failed = (
            driver.cuInit(0)
            or driver.cuDeviceGet(ctypes.byref(device), 0)
            or driver.cuDeviceGetName(name, len(name), device)
        )
    except (OSError, AttributeError):
        return ""
    return "" if failed else name.value.decode(errors="replace")


def _jetson(root: Path) -> str:
    try:
        board = (root / "proc/device-tree/model").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    board = re.sub(r"\b(Developer Kit|Engineering Reference)\b.*", "", board.rstrip("\0")).strip()
    return board if "Jetson" in board else ""
