"""This machine's NVIDIA GPU as a device: what it is called, which runtimes it is profiled with, and how.

A GPU is asked for as `--device gpu` or by its name; its tables carry the name. On a Jetson that is the
board's, because boards of different speed have GPUs of one name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from ponas_deploy.backends import Backend
from ponas_deploy.backends._cuda import first_gpu_name
from ponas_deploy.errors import PonasError
from ponas_deploy.machines.machine import ROOT
from ponas_deploy.machines.nvidia import gpu_slug, read_gpu, visible_uuid
from ponas_deploy.measuring.protocol import Plan

GPU = "gpu"
RUNTIMES = ("tensorrt", "onnxruntime-cuda", "torch")
"""What a GPU is profiled with by default, where it is installed."""
INSTEAD = {"tensorrt": "trtexec"}
"""What takes the place of one that is missing."""
_ONLY_ON_A_GPU = ("tensorrt", "trtexec", "onnxruntime-cuda", "onnxruntime-tensorrt")
_EITHER = ("torch", "torch-eager", "torch-compile")

PLAN = Plan(sample_ns=2_000_000, settled_ns=50.0)
"""A sample lasts 2 ms: events have steps of half a microsecond, and blocks take tens of microseconds."""
_PLAN_OF_PROCESSES = replace(PLAN, retakes=0, sentinel_visits=200)
"""Of a runtime whose every visit is a process: none is spent on what the process does by itself."""


_SLOW_BUILD_S = 1800.0
"""A build of which nothing is heard may take so long where kernels are compiled or picked by timing them."""


@cache
def this_gpu(root: Path = ROOT) -> str:
    """The name of the first GPU that this process may use, as tables carry it: `nvidia-h200`; empty without.

    From the board's device tree, NVML or the driver's own library, whichever answers first: the last needs no
    package, so that PyTorch alone is enough.
    """
    name = _jetson(root) or read_gpu(visible_uuid()).name or first_gpu_name()
    return gpu_slug(name) if name else ""


def runs_on_gpu(backend: Backend) -> bool:
    """Whether a runtime runs on a GPU here; PyTorch takes the GPU where it sees one."""
    return backend.name in _ONLY_ON_A_GPU or bool(getattr(backend, "on_gpu", False))


def plan_for(backend: str) -> Plan:
    """How a runtime is measured on this machine."""
    if backend == "trtexec":
        return _PLAN_OF_PROCESSES
    on_gpu = backend in _ONLY_ON_A_GPU or (backend in _EITHER and this_gpu())
    return PLAN if on_gpu else Plan()


def no_output_s(backend: str) -> float:
    """Seconds that a build of a runtime may take without a sign of life; 0 where models build in no time."""
    return _SLOW_BUILD_S if backend in (*_ONLY_ON_A_GPU, *_EITHER) else 0.0


def refuse_other_processor(backend: Backend, *, on_gpu: bool) -> None:
    """PonasError where a runtime does not run on what its table would be named after."""
    if runs_on_gpu(backend) == on_gpu:
        return
    if on_gpu:
        why = getattr(backend, "why_not_gpu", "")
        others = ", ".join(name for name in RUNTIMES if name != backend.name)
        raise PonasError(
            f"{backend.name} runs on the CPU here{why and f' ({why})'}: for the GPU, mend that or ask for one"
            f" of {others}."
        )
    raise PonasError(f"{backend.name} runs on the GPU here: ask for --device {GPU}.")


def required_gpu() -> str:
    """The name of this machine's GPU; PonasError with what to check where none answers."""
    if name := this_gpu():
        return name
    raise PonasError(
        "no NVIDIA GPU answers here: check `nvidia-smi`, CUDA_VISIBLE_DEVICES and, in a container,"
        " `--gpus all`; nvidia-ml-py lets us read its clocks and heat (pip install nvidia-ml-py)."
    )


def _jetson(root: Path) -> str:
    try:
        board = (root / "proc/device-tree/model").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    board = re.sub(r"\b(Developer Kit|Engineering Reference)\b.*", "", board.rstrip("\0")).strip()
    return board if "Jetson" in board else ""
