"""NVML through a stand-in with the names of the real bindings, and its absence."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from ponas_deploy.machines.nvidia import GpuReading, gpu_slug, read_gpu


class NVMLError(Exception):
    """As in pynvml."""


def bindings(**changed: object) -> SimpleNamespace:
    names: dict[str, object] = {
        "NVMLError": NVMLError,
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"handle {uuid}",
        "nvmlDeviceGetName": lambda handle: "NVIDIA H200",
        "nvmlSystemGetDriverVersion": lambda: b"580.159.04",
        "nvmlDeviceGetClockInfo": lambda handle, kind: {1: 1980, 2: 3201}[kind],
        "nvmlDeviceGetPowerUsage": lambda handle: 123456,
        "nvmlDeviceGetTemperature": lambda handle, sensor: 41,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: 0x25,
        "nvmlDeviceGetCudaComputeCapability": lambda handle: [9, 0],
        "nvmlDeviceGetUUID": lambda handle: f"GPU-of-{handle}",
    }
    return SimpleNamespace(**{**names, **changed})


def refuse(*arguments: object) -> None:
    raise NVMLError("Not Supported")


def test_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", bindings())
    reading = read_gpu("GPU-1")
    assert reading == GpuReading(
        "NVIDIA H200", "580.159.04", 1980, 3201, 123.5, 41, ("power cap", "thermal slowdown"), (9, 0)
    )
    assert reading.slug == "nvidia-h200"
    assert reading.environment() == (("gpu", "NVIDIA H200"), ("gpu_driver", "580.159.04"))
    assert dict(reading.conditions()) == {
        "gpu_sm_clock_mhz": "1980",
        "gpu_memory_clock_mhz": "3201",
        "gpu_power_w": "123.5",
        "gpu_temperature_c": "41",
        "gpu_throttle": "power cap, thermal slowdown",
    }


def test_values_a_board_does_not_report_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = (
        "PowerUsage",
        "ClockInfo",
        "Temperature",
        "CurrentClocksThrottleReasons",
        "CudaComputeCapability",
    )
    quiet = bindings(**{f"nvmlDeviceGet{name}": refuse for name in silent})
    monkeypatch.setitem(sys.modules, "pynvml", quiet)
    assert read_gpu().present
    assert read_gpu().conditions() == (("gpu_throttle", "none"),)


@pytest.mark.parametrize("module", [None, bindings(nvmlInit=refuse), bindings(nvmlDeviceGetName=refuse)])
def test_no_bindings_no_driver_no_gpu_is_an_empty_reading(
    module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    reading = read_gpu()
    assert reading == GpuReading()
    assert not reading.present
    assert (reading.slug, reading.environment(), reading.conditions()) == ("", (), ())


def test_an_unknown_uuid_means_the_only_gpu_and_no_gpu_among_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", bindings(nvmlDeviceGetHandleByUUID=refuse))
    assert read_gpu("GPU-x").present
    several = bindings(nvmlDeviceGetHandleByUUID=refuse, nvmlDeviceGetCount=lambda: 2)
    monkeypatch.setitem(sys.modules, "pynvml", several)
    assert not read_gpu("GPU-x").present


def test_every_name_used_exists_in_the_real_bindings() -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    missing = [name for name in vars(bindings()) if not hasattr(real, name)]
    assert not missing


@pytest.mark.parametrize(
    ("name", "expected"),
    [("NVIDIA H200", "nvidia-h200"), ("Tesla T4", "nvidia-tesla-t4"), ("Orin (nvgpu)", "nvidia-orin-nvgpu")],
)
def test_slugs(name: str, expected: str) -> None:
    assert gpu_slug(name) == expected
