"""The state of a GPU as NVML tells it: through a stand-in with the names of the real bindings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_nvidia import bindings, refuse

from ponas_deploy.files.documents import encoded
from ponas_deploy.machines.gpu_state import GpuProcess, GpuState, read_gpu_state


def test_the_state_as_nvml_tells_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, other = (SimpleNamespace(pid=pid, usedGpuMemory=5 << 20) for pid in (os.getpid(), 4711))
    screen = SimpleNamespace(pid=88, usedGpuMemory=None)
    more = {
        "nvmlDeviceGetMaxClockInfo": lambda handle, kind: {1: 2100, 2: 3201}[kind],
        "nvmlDeviceGetPersistenceMode": lambda handle: 0,
        "nvmlDeviceGetDisplayActive": lambda handle: 1,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [ours, other],
        "nvmlDeviceGetGraphicsRunningProcesses": lambda handle: [other, screen],
    }
    (tmp_path / "proc/4711").mkdir(parents=True)
    (tmp_path / "proc/4711/comm").write_text("python\n")
    monkeypatch.setitem(sys.modules, "pynvml", bindings(**more))
    processes = (GpuProcess(88), GpuProcess(4711, "python", 5))
    expected = GpuState("NVIDIA H200", 1980, 2100, persistent=False, display=True, processes=processes)
    assert read_gpu_state(tmp_path) == expected
    assert json.loads(json.dumps(encoded(expected)))["processes"][1]["name"] == "python"
    monkeypatch.setattr("ponas_deploy.machines.gpu_state.first_uuid", lambda: "GPU-of-cuda")
    asked: list[str] = []
    by_uuid = {"nvmlDeviceGetHandleByUUID": asked.append}
    monkeypatch.setitem(sys.modules, "pynvml", bindings(**more, **by_uuid))
    assert read_gpu_state(tmp_path) == expected
    assert set(asked) == {"GPU-of-cuda"}, "the GPU that CUDA counts first, not NVML"
    monkeypatch.setitem(sys.modules, "pynvml", bindings(**dict.fromkeys(more, refuse)))
    assert read_gpu_state(tmp_path) == GpuState("NVIDIA H200", 1980)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpu_state(tmp_path) is None


def test_the_names_are_those_of_the_real_bindings() -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    source = Path(sys.modules[read_gpu_state.__module__].__file__ or "").read_text(encoding="utf-8")
    names = {word.strip('"(),') for word in source.replace("(", " ").split() if "nvmlDevice" in word}
    assert len(names) == 5
    assert all(callable(getattr(real, name)) for name in names)
