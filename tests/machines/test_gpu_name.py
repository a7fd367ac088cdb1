"""What this machine's GPU is called: by its board, by NVML, by the driver's own library, or not at all."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from ponas_deploy.errors import PonasError
from ponas_deploy.machines import gpu, nvidia


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.this_gpu.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


DRIVER = """
int cuInit(unsigned flags) { return %(fails)d; }
int cuDriverGetVersion(int *version) { *version = 13020; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 16 ? 40 : which == 75 ? 7 : which == 76 ? 5 : 0;
    return device != 7;
}
int cuDeviceGetUuid(unsigned char *uuid, int device) {
    for (int i = 0; i < 16; i++) uuid[i] = i;
    return device != 7;
}
int cuDeviceGet(int *device, int ordinal) { *device = 7; return ordinal; }
int cuDeviceGetName(char *name, int length, int device) {
    const char *text = "Tesla T4";
    if (device != 7 || length < 9) return 1;
    for (int i = 0; i < 9; i++) name[i] = text[i];
    return 0;
}
"""


def driver(folder: Path, fails: int) -> ctypes.CDLL:
    """A real library with the functions of a driver that are called."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler here")
    source, library = folder / f"driver{fails}.c", folder / f"driver{fails}.so"
    source.write_text(DRIVER % {"fails": fails}, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


def test_the_name_from_nvml_from_the_driver_and_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With PyTorch alone there is neither NVML's package nor `nvidia-smi`, but a driver."""

    def absent() -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": nvidia.GpuReading())
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
    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": nvidia.GpuReading("NVIDIA H200"))
    assert gpu.this_gpu(tmp_path) == "nvidia-h200"


def test_of_two_unlike_gpus_the_one_that_cuda_shows_is_named_and_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """NVML counts by slot, where the old card comes first; CUDA's first one is the fastest."""
    old, first = "GPU-99999999-0000-0000-0000-000000000000", "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    cards = {
        old: nvidia.GpuReading("GeForce GT 710", "580.1", 954, compute_capability=(3, 5)),
        first: nvidia.GpuReading("Tesla T4", "580.1", 1590, compute_capability=(7, 5)),
    }
    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": cards[uuid or old])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    library = driver(tmp_path, 0)
    monkeypatch.setattr(gpu, "driver_library", lambda: library)
    found = gpu.first_gpu()
    assert found == gpu.DriverGpu("Tesla T4", first, 40, (7, 5), "13.2")
    assert gpu.first_uuid() == first
    assert gpu.this_gpu(tmp_path) == "nvidia-tesla-t4"
    assert gpu.read_first_gpu(tmp_path) == cards[first]
    cards[first] = nvidia.GpuReading()
    silent = gpu.read_first_gpu(tmp_path)
    assert (silent.name, silent.sm_clock_mhz, silent.compute_capability) == ("Tesla T4", None, (7, 5))


RELEASE = "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64, DATE: Fri Sep 13\n"
MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain@mobile)\n"
    "GCC version:  collect2: error: ld returned 1 exit status\n"
)


def orin(root: Path, model: str) -> None:
    """The files of a Jetson by which it is told."""
    clocks = {"cur_freq": "612000000", "min_freq": "306000000", "max_freq": "1020000000"}
    files = {f"sys/class/devfreq/17000000.gpu/{name}": text for name, text in clocks.items()}
    files |= {"etc/nv_tegra_release": RELEASE, "proc/driver/nvidia/version": MODULE}
    if model:
        files["proc/device-tree/model"] = f"{model}\0"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def test_what_an_engine_of_a_jetson_is_bound_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NVML has a name for it and nothing else, the same one for boards of different speed."""
    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": nvidia.GpuReading("Orin (nvgpu)"))
    monkeypatch.setattr(gpu, "first_gpu", lambda: gpu.DriverGpu("Orin", "GPU-1", 8, (8, 7), "12.6"))
    orin(tmp_path, "NVIDIA Jetson Orin Nano Developer Kit")
    reading = gpu.read_first_gpu(tmp_path)
    assert (reading.name, reading.driver, reading.sm_clock_mhz) == ("Orin", "540.4.0", 612)
    assert gpu.first_gpu_identity(reading, tmp_path) == {
        "gpu": "Orin",
        "driver": "540.4.0",
        "multiprocessors": "8",
        "compute_capability": "8.7",
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.0",
        "cuda": "12.6",
    }
    unknown = gpu.engine_identity(gpu.DriverGpu(), "", tmp_path / "none")
    assert unknown == {"gpu": "", "driver": ""}, "which is equal to nothing"
    elsewhere = gpu.engine_identity(gpu.DriverGpu("RTX", cuda="13.2"), "", tmp_path / "none")
    assert elsewhere == {"gpu": "RTX", "cuda": "13.2"}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (MODULE, "540.4.0"),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023",
            "535.104.05",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06", "580.65.06"),
        ("", ""),
    ],
)
def test_the_version_of_the_driver_by_its_kernel_module(text: str, version: str, tmp_path: Path) -> None:
    file = tmp_path / "proc/driver/nvidia/version"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    assert gpu.kernel_driver(tmp_path) == version


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "nvidia-jetson-orin-nx"),
        ("NVIDIA Orin Nano Developer Kit", "nvidia-jetson-orin-nano"),
        ("", "nvidia-jetson-orin-8-sm"),
    ],
)
def test_a_jetson_whose_device_tree_a_container_hides_or_that_is_older(
    model: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "first_gpu", lambda: gpu.DriverGpu("Orin", "GPU-1", 8, (8, 7)))
    orin(tmp_path, model)
    assert gpu.this_gpu(tmp_path) == name


def test_a_jetson_is_called_after_its_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": nvidia.GpuReading("Orin (nvgpu)"))
    model = tmp_path / "proc" / "device-tree" / "model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0")
    assert gpu.this_gpu(tmp_path) == "nvidia-jetson-orin-nano"
    gpu.this_gpu.cache_clear()
    model.write_bytes(b"Raspberry Pi 5 Model B\0")
    assert gpu.this_gpu(tmp_path) == "nvidia-orin-nvgpu"


def test_the_gpu_that_the_environment_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is CUDA's and never NVML's."""
    for value, expected in (("", ""), ("1", ""), ("GPU-abc,0", "GPU-abc"), ("-1", ""), ("MIG-1", "")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert nvidia.visible_uuid() == expected
    assert nvidia.has_tf32(nvidia.GpuReading())
    assert not nvidia.has_tf32(nvidia.GpuReading(compute_capability=(7, 5)))
