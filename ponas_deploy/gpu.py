"""This machine's NVIDIA GPU as a device: what it is called, which runtimes it is profiled with, and how.

A GPU is asked for as `--device gpu` or by its name; its tables carry the name. On a Jetson that is the
board's, because boards of different speed have GPUs of one name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ponas_deploy.backends import Backend
from ponas_deploy.devices import ROOT
from ponas_deploy.errors import PonasError
from ponas_deploy.measure import Plan
from ponas_deploy.nvidia import gpu_slug, read_gpu, visible_uuid

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


@cache
def this_gpu(root: Path = ROOT) -> str:
    """The name of the first GPU that this process may use, as tables carry it: `nvidia-h200`; empty without.

    From the board's device tree, NVML or `nvidia-smi`, whichever answers first.
    """
    name = _jetson(root) or read_gpu(visible_uuid()).name or _from_nvidia_smi()
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


def refuse_other_processor(backend: Backend, *, on_gpu: bool) -> None:
    """PonasError where a runtime does not run on what its table would be named after."""
    if runs_on_gpu(backend) == on_gpu:
        return
    if on_gpu:
        raise PonasError(
            f"{backend.name} runs on the CPU here: for the GPU, ask for one of {_words(RUNTIMES)}."
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


def _from_nvidia_smi() -> str:
    """What the driver's own program says, where the Python package is not installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    if uuid := visible_uuid():
        command.append(f"--id={uuid}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""


def _words(names: Sequence[str]) -> str:
    return ", ".join(names)
