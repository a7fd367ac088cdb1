"""Engines of one target, a GPU or a compute capability: built once for a model and its settings, and kept.

What was built is what is loaded, timed and written (`_tensorrt_files.py`). It needs no GPU where the library
needs none to build.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ponas_deploy.backends._buffers import check_settings
from ponas_deploy.backends._engine_record import Identity
from ponas_deploy.backends._tensorrt_build import BuildPlan, build_engine
from ponas_deploy.backends._tensorrt_files import Cache, engine_key, write_engine
from ponas_deploy.backends._tensorrt_library import Library
from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.onnx_interface import read_interface
from ponas_deploy.backends.onnx_prepared import prepared
from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.backends.protocol import RunSettings

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass
class EngineBuilder:
    """Builds engines for what `identity` names; `plan` is that of every precision but tf32.

    `tensorrt` is the library that builds them: TensorRT, or that for RTX.
    """

    tensorrt: Library
    log: trt.ILogger
    identity: Identity
    plan: BuildPlan
    precisions: tuple[str, ...]
    calibration: Calibration = field(default_factory=Calibration)

    def __post_init__(self) -> None:
        self.cache = Cache.of(self.identity, self.tensorrt)

    def fed_model(self, model: bytes, precision: str) -> bytes:
        """The ONNX that TensorRT is given for a precision."""
        name = self.tensorrt.backend
        ends = read_interface(name, model)
        ends.input.static_shape(name, "input")
        ends.output.static_shape(name, "output")
        return prepared(name, model, precision, self.calibration)

    def engine(
        self, model: bytes, settings: RunSettings, on_progress: OnBuildProgress | None
    ) -> tuple[bytes, bytes]:
        """The engine of a model and the ONNX it is built from, built only where the cache has none."""
        check_settings(self.tensorrt.backend, self.precisions, settings)
        fed, plan = self.fed_model(model, settings.precision), self._plan(settings.precision)
        key = engine_key(fed, settings, plan.text)
        if (kept := self.cache.engine(key)) is not None:
            return kept, fed
        built = build_engine(
            self.tensorrt,
            fed,
            plan,
            self.log,
            timing_cache=self.cache.timings(),
            on_progress=on_progress,
        )
        self.cache.keep(key, built.engine, built.timing_cache)
        return built.engine, fed

    def save(
        self, model: bytes, settings: RunSettings, folder: Path, on_progress: OnBuildProgress | None
    ) -> tuple[Path, ...]:
        """Write the engine, the ONNX it was built from, and its record."""
        engine, fed = self.engine(model, settings, on_progress)
        plan = self._plan(settings.precision).text
        return write_engine(self.tensorrt, folder, engine, fed, settings, self.identity, plan)

    def _plan(self, precision: str) -> BuildPlan:
        return replace(self.plan, tf32=precision == "tf32")
