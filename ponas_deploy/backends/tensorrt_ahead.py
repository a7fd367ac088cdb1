"""TensorRT for RTX ahead of time: engines of a compute capability, built where there is no such GPU.

What is built is what the runtime opens on such a GPU (`tensorrt.py`); nothing is run or timed here. It needs
neither a driver nor `cuda-bindings`.
Source: https://docs.nvidia.com/deeplearning/tensorrt-rtx ("CPU-only ahead-of-time engines").
"""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ponas_deploy.backends._tensorrt_build import BuildPlan, make_log
from ponas_deploy.backends._tensorrt_builder import EngineBuilder
from ponas_deploy.backends._tensorrt_library import TENSORRT_RTX
from ponas_deploy.backends.onnx_calibration import INT8_SCALES, Calibration
from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.backends.protocol import RunSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TensorRtAhead:
    """Engines of TensorRT for RTX for a compute capability, as in "8.9".

    BackendError where the library is missing, the capability is no such number, or it has no engines for it.
    """

    def __init__(self, compute_capability: str) -> None:
        library = TENSORRT_RTX
        self.name = library.backend
        self._version = library.checked_version()
        capability = library.check_capability(compute_capability)
        self.on_progress: OnBuildProgress | None = None
        identity = {"compute_capability": compute_capability, library.key: self._version}
        self._builder = EngineBuilder(
            library,
            make_log(library),
            identity,
            BuildPlan(compute_capability=compute_capability),
            library.precisions(capability),
            Calibration(),
        )

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take INT8 scales from these images from now on, see `Calibration`."""
        self._builder.calibration = replace(self._builder.calibration, images=images)

    def precisions(self) -> tuple[str, ...]:
        """What GPUs of the compute capability run natively, the default first."""
        return self._builder.precisions

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that an engine is built with."""
        return (
            ("runtime", f"{self.name} {self._version}"),
            ("build", self._builder.plan.text),
            (INT8_SCALES, self._builder.calibration.text),
            ("compute_capability", self._builder.identity["compute_capability"]),
            ("python", platform.python_version()),
        )

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the engine of an ONNX model, the ONNX it was built from and its record; the engine first."""
        return self._builder.save(model, settings, folder, self.on_progress)
