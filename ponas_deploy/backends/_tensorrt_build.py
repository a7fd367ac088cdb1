"""From ONNX to a TensorRT engine: one path for TensorRT 10.0 to 11, which asks what the library has.

The network is strongly typed, so its precision is that of the ONNX file's types; no precision flag is set
(TensorRT 11 has none) but TF32, which is on unless cleared. Shapes are static: no optimization profile.
Kernels are picked by timing them, so two builds differ; a timing cache makes the same kernel win again.
Source: https://docs.nvidia.com/deeplearning/tensorrt (Python API; "Migrating from TensorRT 10 to 11").
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress
from ponas_deploy.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

_MIB = 1 << 20
_KEPT_MESSAGES = 50
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class BuildPlan:
    """What an engine is built with, besides its model.

    `workspace_mib` limits the scratch memory a kernel may take; `optimization_level` is TensorRT's, 0 to 5:
    higher ones try more kernels and take longer to build. `tf32` allows TF32 where the model says float32.
    """

    workspace_mib: int = 1024
    optimization_level: int = 3
    tf32: bool = False

    @property
    def text(self) -> str:
        """For people and environments."""
        return (
            f"strongly typed, optimization level {self.optimization_level}, workspace"
            f" {self.workspace_mib} MiB, no auxiliary streams"
        )


@dataclass(frozen=True)
class Built:
    """A serialised engine, and the timing cache with what its build has added."""

    engine: bytes
    timing_cache: bytes


def import_tensorrt() -> Any:
    """The module, untyped: it has no annotations."""
    return import_module("tensorrt")


def make_log() -> trt.ILogger:
    """A logger that prints nothing and keeps what went wrong; `reason` tells it."""
    trt = import_tensorrt()

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self._errors = [*self._errors, msg][-_KEPT_MESSAGES:]

        def _reason(self) -> str:
            """The first error since the last time it was asked, in one line."""
            errors, self._errors = self._errors, []
            return one_line(errors[0]) if errors else "TensorRT gives no reason"

    return Log()


def reason_of(log: Any) -> str:
    """What a logger of `make_log` recorded first since it was last asked."""
    return str(log._reason())


def one_line(text: str) -> str:
    """A message of TensorRT in one line, cut where it goes on for long, without the full stop."""
    line = " ".join(text.split())
    return line[:_SHOWN_CHARACTERS].rstrip(" .")


def build_engine(
    backend: str,
    model: bytes,
    plan: BuildPlan,
    log: trt.ILogger,
    *,
    timing_cache: bytes = b"",
    on_progress: OnBuildProgress | None = None,
) -> Built:
    """Build the engine of an ONNX model; BackendError says which step refused it and why."""
    trt = import_tensorrt()

    try:
        builder = trt.Builder(log)
    except TypeError as error:  # what pybind11 makes of a null pointer
        raise BackendError(
            backend,
            f"the builder does not start: {reason_of(log)}; see `nvidia-smi`, and whether this TensorRT"
            " is for the driver's CUDA.",
        ) from error
    network = builder.create_network(_creation_flags())
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise BackendError(backend, _refusal(parser, log))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_mib * _MIB)
    config.builder_optimization_level = plan.optimization_level
    config.max_aux_streams = 0
    (config.set_flag if plan.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    cache = _attached_cache(config, timing_cache)
    monitor = _monitor(on_progress)
    config.progress_monitor = monitor
    reason_of(log)  # a timing cache that was refused is no reason for what comes now
    engine = builder.build_serialized_network(network, config)
    if monitor._cancelled:
        raise KeyboardInterrupt
    if engine is None:
        raise BackendError(
            backend,
            f"the engine cannot be built: {reason_of(log)}. Where it is memory, allow less workspace or end"
            " what else uses the GPU.",
        )
    return Built(bytes(engine), bytes(cache.serialize()) if cache is not None else timing_cache)


def _creation_flags() -> int:
    """Strongly typed: a flag on 10, without effect on 11, where there is nothing else."""
    trt = import_tensorrt()

    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _attached_cache(config: trt.IBuilderConfig, saved: bytes) -> trt.ITimingCache | None:
    """The saved timing cache, or an empty one where TensorRT does not take that one."""
    for content in dict.fromkeys((saved, b"")):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    return None


def _monitor(on_progress: OnBuildProgress | None) -> trt.IProgressMonitor:
    """Passes on the outermost phases; Ctrl-C in it cancels the build, as an exception cannot cross C++."""
    trt = import_tensorrt()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._cancelled = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self._steps[phase_name] = num_steps
                self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return not self._cancelled

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, self._steps.get(phase_name, 0))

        def _tell(self, phase: str, done: int) -> None:
            try:
                if on_progress is not None and phase in self._steps:
                    on_progress(BuildProgress(phase, done, self._steps[phase]))
            except KeyboardInterrupt:
                self._cancelled = True

    return Monitor()


def _refusal(parser: trt.OnnxParser, log: trt.ILogger) -> str:
    """Why a model was not parsed."""
    said = reason_of(log)
    if parser.num_errors:
        return _parser_error(parser.get_error(0))
    return f"the model cannot be read: {said}. Check it with `onnx.checker.check_model`."


def _parser_error(error: trt.ParserError) -> str:
    """The operator that is missing, or what else is wrong with the model."""
    trt = import_tensorrt()

    said = one_line(error.desc())
    where = f"node '{error.node_name()}' ({error.node_operator()})" if error.node_operator() else "the graph"
    if error.code() in (trt.ErrorCode.UNSUPPORTED_NODE, trt.ErrorCode.UNSUPPORTED_GRAPH):
        return (
            f"TensorRT {trt.__version__} does not run {where}: {said}. Take another operator, another"
            " backend, or a newer TensorRT."
        )
    return f"the model cannot be read at {where}: {said}. Check it with `onnx.checker.check_model`."
