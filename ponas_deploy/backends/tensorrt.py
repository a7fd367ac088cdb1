"""TensorRT on an NVIDIA GPU or a Jetson, 10.0 to 11, with `cuda-bindings` for the CUDA runtime and no torch.

TensorRT for RTX goes the same way (`for_rtx`); `_tensorrt_library.py` has what differs.

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
from ponas_deploy.backends._tensorrt_build import BuildPlan, make_log, reason_of
from ponas_deploy.backends._tensorrt_builder import EngineBuilder
from ponas_deploy.backends._tensorrt_files import read_engine
from ponas_deploy.backends._tensorrt_library import TENSORRT, TENSORRT_RTX, Library
from ponas_deploy.backends._tensorrt_session import SharedGpu, TensorRtSession
from ponas_deploy.backends.onnx_calibration import INT8_SCALES, Calibration
from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError
from ponas_deploy.machines import nvidia
from ponas_deploy.machines.gpu import DriverGpu, engine_identity, read_gpu

if TYPE_CHECKING:
    import tensorrt as trt
    from numpy.typing import NDArray


class TensorRtBackend:
    """TensorRT on the first GPU that CUDA shows this process (CUDA_VISIBLE_DEVICES picks another).

    `calibration` is where INT8 scales come from; `on_progress` is called while an engine is built, from
    whatever thread TensorRT builds on. `RunSettings.threads` has no meaning here and is kept as it was given.
    """

    def __init__(
        self,
        *,
        workspace_mib: int = BuildPlan().workspace_mib,
        optimization_level: int = BuildPlan().optimization_level,
        calibration: Calibration | None = None,
        on_progress: OnBuildProgress | None = None,
        library: Library = TENSORRT,
    ) -> None:
        self.name, self._library = library.backend, library
        self._version = library.checked_version()
        # Without a driver TensorRT does not fail but takes the process down: CUDA is asked first.
        cuda = Cuda(self.name)
        capability = ".".join(map(str, cuda.gpu.capability))
        if library.by_capability:
            library.check_capability(capability)
        log = make_log(library)
        self._shared = SharedGpu(library, cuda, log, _runtime(library, log))
        self.on_progress = on_progress
        plan = BuildPlan(
            workspace_mib,
            optimization_level,
            compute_capability=capability if library.by_capability else "",
        )
        self._builder = EngineBuilder(
            library,
            log,
            self._identify(),
            plan,
            library.precisions(cuda.gpu.capability),
            calibration or Calibration(),
        )
        self._cache = self._builder.cache

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take INT8 scales from these images from now on, see `Calibration`."""
        self._builder.calibration = replace(self._builder.calibration, images=images)

    def reading(self) -> nvidia.GpuReading:
        """Clocks, power, temperature and throttle reasons of this backend's GPU now."""
        gpu = self._shared.cuda.gpu
        return read_gpu(gpu.uuid, gpu.name)

    def free_gpu_bytes(self) -> int:
        """Bytes of the GPU's memory that are free."""
        return self._shared.cuda.free_bytes()

    def precisions(self) -> tuple[str, ...]:
        """fp32 (TF32 off) first."""
        return self._builder.precisions

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that a latency depends on; clocks and heat are `reading`'s."""
        filled, gpu = self._shared.cuda.fills_queue, self._gpu()
        return (
            ("runtime", f"{self.name} {self._version}"),
            ("execution", GRAPH),
            ("queue", "filled before the clock starts (a host function sleeps)" if filled else "not filled"),
            ONE_STREAM,
            ("build", self._builder.plan.text),
            (INT8_SCALES, self._builder.calibration.text),
            ("gpu", gpu["gpu"]),
            ("gpu_driver", gpu.get("driver", "unknown")),
            ("compute_capability", gpu["compute_capability"]),
            ("cuda", gpu["cuda"]),
            ("python", platform.python_version()),
        )

    @property
    def uncaptured(self) -> tuple[str, ...]:
        """Why engines so far run without a CUDA graph, one reason for each."""
        return tuple(self._shared.uncaptured)

    def load(self, model: bytes, settings: RunSettings) -> TensorRtSession:
        """Build the engine of an ONNX model, or take the one that was built for it before."""
        engine, _ = self._builder.engine(model, settings, self.on_progress)
        return TensorRtSession(self._shared, engine, settings, f"the engine kept in {self._cache.folder}")

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the engine that `load` times, and the ONNX it was built from."""
        return self._builder.save(model, settings, folder, self.on_progress)

    def open(self, engine: Path, settings: RunSettings) -> TensorRtSession:
        """A session of an engine that `save` wrote on this GPU, with this driver and TensorRT."""
        check_settings(self.name, self.precisions(), settings)
        serialized = read_engine(self._library, engine, settings, self._builder.identity)
        return TensorRtSession(self._shared, serialized, settings, str(engine))

    def fed_model(self, model: bytes, precision: str) -> bytes:
        """The ONNX that TensorRT is given for a precision."""
        return self._builder.fed_model(model, precision)

    def _identify(self) -> dict[str, str]:
        """What an engine of this GPU is bound to."""
        gpu = self._gpu()
        known = {"compute_capability": gpu["compute_capability"]} if self._library.by_capability else gpu
        return {**known, self._library.key: self._version}

    def _gpu(self) -> dict[str, str]:
        gpu = self._shared.cuda.gpu
        found = DriverGpu(gpu.name, gpu.uuid, gpu.multiprocessors, gpu.capability, gpu.cuda)
        return engine_identity(found, self.reading().driver)


def for_rtx() -> TensorRtBackend:
    """The backend of TensorRT for RTX."""
    return TensorRtBackend(library=TENSORRT_RTX)


def _runtime(library: Library, log: trt.ILogger) -> trt.Runtime:
    trt = library.load()

    try:
        return trt.Runtime(log)
    except TypeError as error:  # what pybind11 makes of a null pointer
        raise BackendError(
            library.backend,
            f"the runtime does not start: {reason_of(log)}; see `nvidia-smi`, and whether this TensorRT is"
            " for the driver's CUDA.",
        ) from error
