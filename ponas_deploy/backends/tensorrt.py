"""TensorRT on an NVIDIA GPU or a Jetson, 10.0 to 11, with `cuda-bindings` for the CUDA runtime and no torch.

    fp32   TF32 switched off          fp16   half precision, input and output too
    tf32   TF32 where it is faster    int8   explicit Q/DQ with symmetric scales, the rest in half precision

A precision is a matter of the ONNX file that TensorRT is given (`onnx_precision.py`). An engine is built once
for a model, its settings and this machine; what was built is kept and is what `load` times and `save` writes
(`_tensorrt_files.py`). bf16 is left out: it runs at the speed of fp16 with fewer digits.
Source: https://docs.nvidia.com/deeplearning/tensorrt.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ponas_deploy.backends._buffers import check_settings
from ponas_deploy.backends._cuda import Cuda
from ponas_deploy.backends._gpu_protocol import GRAPH, ONE_STREAM
from ponas_deploy.backends._tensorrt_build import (
    BuildPlan,
    build_engine,
    import_tensorrt,
    make_log,
    reason_of,
)
from ponas_deploy.backends._tensorrt_files import Cache, engine_key, read_engine, write_engine
from ponas_deploy.backends._tensorrt_session import SharedGpu, TensorRtSession
from ponas_deploy.backends.onnx_calibration import INT8_SCALES, Calibration
from ponas_deploy.backends.onnx_interface import read_interface
from ponas_deploy.backends.onnx_prepared import prepared
from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError
from ponas_deploy.machines import nvidia

if TYPE_CHECKING:
    import tensorrt as trt
    from numpy.typing import NDArray

_NAME = "tensorrt"
_OLDEST = 10
_FIRST_WITH_TF32 = (8, 0)


class TensorRtBackend:
    """TensorRT on the first GPU that CUDA shows this process (CUDA_VISIBLE_DEVICES picks another).

    `calibration` is where INT8 scales come from; `on_progress` is called while an engine is built, from
    whatever thread TensorRT builds on. `RunSettings.threads` has no meaning here and is kept as it was given.
    """

    name = _NAME

    def __init__(
        self,
        *,
        workspace_mib: int = BuildPlan().workspace_mib,
        optimization_level: int = BuildPlan().optimization_level,
        calibration: Calibration | None = None,
        on_progress: OnBuildProgress | None = None,
    ) -> None:
        self._version = _checked_version()
        # Without a driver TensorRT does not fail but takes the process down: CUDA is asked first.
        cuda = Cuda(_NAME)
        log = make_log()
        self._shared = SharedGpu(_NAME, cuda, log, _runtime(log))
        self._workspace_mib, self._level = workspace_mib, optimization_level
        self._calibration = calibration or Calibration()
        self.on_progress = on_progress
        self._identity = self._identify()
        self._cache = Cache.of(self._identity)

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take INT8 scales from these images from now on, see `Calibration`."""
        self._calibration = replace(self._calibration, images=images)

    def reading(self) -> nvidia.GpuReading:
        """Clocks, power, temperature and throttle reasons of this backend's GPU now."""
        return nvidia.read_gpu(self._shared.cuda.gpu.uuid)

    def precisions(self) -> tuple[str, ...]:
        """fp32 (TF32 off) first."""
        has_tf32 = self._shared.cuda.gpu.capability >= _FIRST_WITH_TF32
        return ("fp32", *(("tf32",) if has_tf32 else ()), "fp16", "int8")

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that a latency depends on; clocks and heat are `reading`'s."""
        filled = self._shared.cuda.fills_queue
        return (
            ("runtime", f"tensorrt {self._version}"),
            ("execution", GRAPH),
            ("queue", "filled before the clock starts (a host function sleeps)" if filled else "not filled"),
            ONE_STREAM,
            ("build", self._plan("fp32").text),
            (INT8_SCALES, self._calibration.text),
            ("gpu", self._identity["gpu"]),
            ("gpu_driver", self._identity["driver"]),
            ("compute_capability", self._identity["compute_capability"]),
            ("cuda", self._identity["cuda"]),
            ("python", platform.python_version()),
        )

    @property
    def uncaptured(self) -> tuple[str, ...]:
        """Why engines so far run without a CUDA graph, one reason for each."""
        return tuple(self._shared.uncaptured)

    def load(self, model: bytes, settings: RunSettings) -> TensorRtSession:
        """Build the engine of an ONNX model, or take the one that was built for it before."""
        engine, _ = self._engine(model, settings)
        return TensorRtSession(self._shared, engine, settings, f"the engine kept in {self._cache.folder}")

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the engine that `load` times, and the ONNX it was built from."""
        engine, fed = self._engine(model, settings)
        plan = self._plan(settings.precision).text
        return write_engine(folder, engine, fed, settings, self._identity, plan)

    def open(self, engine: Path, settings: RunSettings) -> TensorRtSession:
        """A session of an engine that `save` wrote on this GPU, with this driver and TensorRT."""
        check_settings(_NAME, self.precisions(), settings)
        serialized = read_engine(_NAME, engine, settings, self._identity)
        return TensorRtSession(self._shared, serialized, settings, str(engine))

    def fed_model(self, model: bytes, precision: str) -> bytes:
        """The ONNX that TensorRT is given for a precision."""
        ends = read_interface(_NAME, model)
        ends.input.static_shape(_NAME, "input")
        ends.output.static_shape(_NAME, "output")
        return prepared(_NAME, model, precision, self._calibration)

    def _engine(self, model: bytes, settings: RunSettings) -> tuple[bytes, bytes]:
        """The engine of a model and the ONNX it is built from, built only where the cache has none."""
        check_settings(_NAME, self.precisions(), settings)
        fed, plan = self.fed_model(model, settings.precision), self._plan(settings.precision)
        key = engine_key(fed, settings, plan.text)
        if (kept := self._cache.engine(key)) is not None:
            return kept, fed
        built = build_engine(
            _NAME,
            fed,
            plan,
            self._shared.log,
            timing_cache=self._cache.timings(),
            on_progress=self.on_progress,
        )
        self._cache.keep(key, built.engine, built.timing_cache)
        return built.engine, fed

    def _plan(self, precision: str) -> BuildPlan:
        return BuildPlan(self._workspace_mib, self._level, tf32=precision == "tf32")

    def _identify(self) -> dict[str, str]:
        gpu = self._shared.cuda.gpu
        major, minor = gpu.capability
        return {
            "gpu": gpu.name,
            "compute_capability": f"{major}.{minor}",
            "driver": self.reading().driver or "unknown",
            "cuda": gpu.cuda,
            "tensorrt": self._version,
        }


def _checked_version() -> str:
    """TensorRT's version; BackendError where it is missing, its library is, or it is too old."""
    try:
        version = str(import_tensorrt().__version__)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise BackendError(
            _NAME,
            f"cannot be imported ({error}): pip install tensorrt cuda-bindings; on a Jetson it comes with"
            " JetPack, make the environment with --system-site-packages.",
        ) from error
    if int(version.split(".")[0]) < _OLDEST:
        raise BackendError(
            _NAME,
            f"TensorRT {version} is too old: install {_OLDEST}.0 or later; on a Jetson that is JetPack 6.1 or"
            " later.",
        )
    return version


def _runtime(log: trt.ILogger) -> trt.Runtime:
    trt = import_tensorrt()

    try:
        return trt.Runtime(log)
    except TypeError as error:  # what pybind11 makes of a null pointer
        raise BackendError(
            _NAME,
            f"the runtime does not start: {reason_of(log)}; see `nvidia-smi`, and whether this TensorRT is"
            " for the driver's CUDA.",
        ) from error
