"""What an NVIDIA GPU says about itself through NVML: its name and driver, and the conditions of the moment.

Clocks, power, temperature and throttle reasons belong beside a measurement. They come from the package
`nvidia-ml-py` (module `pynvml`), which is optional: without it, without a driver, or for a value that a
board does not report, the reading is empty there and nothing fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from ponas_deploy.machines.names import slug

T = TypeVar("T")

# nvml.h, nvmlClocksEventReasons: why the clocks are not at their highest.
_REASONS = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "power brake",
    0x100: "display clocks",
}
_HARMLESS = ("idle",)
_FIRST_WITH_TF32 = (8, 0)


@dataclass(frozen=True)
class GpuReading:
    """One reading of a GPU; what NVML did not tell is empty or None.

    `throttle` names the reasons why the clocks are below their highest, "idle" left out.
    """

    name: str = ""
    driver: str = ""
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    throttle: tuple[str, ...] = ()
    compute_capability: tuple[int, int] | None = None

    @property
    def present(self) -> bool:
        """Whether there was a GPU to read."""
        return bool(self.name)

    @property
    def slug(self) -> str:
        """The device as tables and folders name it: `nvidia-h200`; empty without a GPU."""
        return gpu_slug(self.name) if self.name else ""

    def environment(self) -> tuple[tuple[str, str], ...]:
        """What stays as it is while measuring, as (name, value)."""
        return (("gpu", self.name), ("gpu_driver", self.driver)) if self.present else ()

    def conditions(self) -> tuple[tuple[str, str], ...]:
        """What changes from round to round, as (name, value); what is not known is left out."""
        values = {
            "gpu_sm_clock_mhz": self.sm_clock_mhz,
            "gpu_memory_clock_mhz": self.memory_clock_mhz,
            "gpu_power_w": self.power_w,
            "gpu_temperature_c": self.temperature_c,
            "gpu_throttle": (", ".join(self.throttle) or "none") if self.present else None,
        }
        return tuple((name, str(value)) for name, value in values.items() if value is not None)


def gpu_slug(name: str) -> str:
    """The device name of a GPU: "NVIDIA H200" is `nvidia-h200`, "Tesla T4" is `nvidia-tesla-t4`."""
    found = slug(name)
    return found if found.startswith("nvidia-") else f"nvidia-{found}"


def has_tf32(gpu: GpuReading) -> bool:
    """Whether the GPU multiplies in TF32 (from Ampere on); taken for granted where NVML does not say."""
    return gpu.compute_capability is None or gpu.compute_capability >= _FIRST_WITH_TF32


def visible_uuid() -> str:
    """The UUID that `CUDA_VISIBLE_DEVICES` begins with; empty where it is unset or begins with a number.

    A number there is CUDA's, which counts the fastest GPU first; NVML counts by slot.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return first if first.startswith("GPU-") else ""


def read_gpu(uuid: str = "") -> GpuReading:
    """Read the GPU of this UUID ("GPU-..."), or the only or first one; an empty reading where there is none.

    Costs well under a millisecond after the first call, which starts NVML.
    """
    try:
        pynvml: Any = import_module("pynvml")
    except ImportError:
        return GpuReading()
    try:
        pynvml.nvmlInit()
        handle = handle_of(pynvml, uuid)
        name = _text(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError:
        return GpuReading()
    return _read(pynvml, handle, name)


def handle_of(nvml: Any, uuid: str) -> Any:
    """By UUID, since NVML counts GPUs that CUDA_VISIBLE_DEVICES hides; by index where only one is there."""
    try:
        if uuid:
            return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:
        if nvml.nvmlDeviceGetCount() != 1:
            raise
    return nvml.nvmlDeviceGetHandleByIndex(0)


def _read(nvml: Any, handle: Any, name: str) -> GpuReading:
    def ask(question: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return question(*arguments)
        except nvml.NVMLError:
            return None

    power_mw = ask(nvml.nvmlDeviceGetPowerUsage, handle)
    capability = ask(nvml.nvmlDeviceGetCudaComputeCapability, handle)
    return GpuReading(
        name=name,
        driver=_text(ask(nvml.nvmlSystemGetDriverVersion) or ""),
        sm_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        memory_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
        power_w=None if power_mw is None else round(power_mw / 1000, 1),
        temperature_c=ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        throttle=_reasons(ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0),
        compute_capability=None if capability is None else (int(capability[0]), int(capability[1])),
    )


def _reasons(mask: int) -> tuple[str, ...]:
    return tuple(text for bit, text in _REASONS.items() if mask & bit and text not in _HARMLESS)


def _text(value: str | bytes) -> str:
    """NVML's older bindings return bytes."""
    return value.decode() if isinstance(value, bytes) else value
