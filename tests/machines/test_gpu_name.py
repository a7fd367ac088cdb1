"""What this machine's GPU is called: by its board, by NVML, by the driver's own library, or not at all."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ponas_deploy.errors import PonasError
from ponas_deploy.machines import gpu, nvidia


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.this_gpu.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


DRIVER = """
int cuInit(unsigned flags) { return %(fails)d; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return ordinal; }
int cuDeviceGetName(char *name, int length, int device) {
    const char *text = "Tesla T4";
    if (device != 7 || length < 9) return 1;
    for (int i = 0; i < 9; i++) name[i] = text[i];
    return 0;
}
"""


def driver(folder: Path, fails: int) -> ctypes.CDLL:
    """A real library with the three functions of a driver that are called."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler here")
    source, library = folder / f"driver{fails}.c", folder / f"driver{fails}.so"
    source.write_text(DRIVER % {"fails": fails}, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


def test_the_name_from_nvml_from_the_driver_and_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With PyTorch alone there is neither NVML's package nor `nvidia-smi`, but a driver."""

    def absent() -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(gpu, "read_gpu", lambda uuid="": nvidia.GpuReading())
    monkeypatch.setattr(gpu, "driver_library", absent)
    assert gpu.this_gpu(tmp_path) == ""
    with pytest.raises(PonasError, match=r"no NVIDIA GPU answers here: check `nvidia-smi`"):
        gpu.required_gpu()
    for fails, name in ((0, "nvidia-tesla-t4"), (100, "")):
        library = driver(tmp_path, fails)
        monkeypatch.setattr(gpu, "driver_library", lambda library=library: library)
        gpu.this_gpu.cache_clear()
        assert gpu.this_gpu(tmp_path) == name
    gpu.this_gpu.cache_clear()
    monkeypatch.setattr(gpu, "read_gpu", lambda uuid="": nvidia.GpuReading("NVIDIA H200"))
    assert gpu.this_gpu(tmp_path) == "nvidia-h200"


def test_a_jetson_is_called_after_its_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "read_gpu", lambda uuid="": nvidia.GpuReading("Orin (nvgpu)"))
    model = tmp_path / "proc" / "device-tree" / "model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0")
    assert gpu.this_gpu(tmp_path) == "nvidia-jetson-orin-nano"
    gpu.this_gpu.cache_clear()
    model.write_bytes(b"Raspberry Pi 5 Model B\0")
    assert gpu.this_gpu(tmp_path) == "nvidia-orin-nvgpu"


def test_the_gpu_that_the_environment_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    module = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    for value, expected in (("", ""), ("1", "GPU-1"), ("GPU-abc,0", "GPU-abc"), ("-1", ""), ("MIG-1", "")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert nvidia.visible_uuid() == expected
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert nvidia.visible_uuid() == ""
    assert nvidia.has_tf32(nvidia.GpuReading())
    assert not nvidia.has_tf32(nvidia.GpuReading(compute_capability=(7, 5)))
