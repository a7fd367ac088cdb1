"""From ONNX to a TensorRT engine: one path for TensorRT 10.0 to 11 and for TensorRT for RTX.

The network is strongly typed, so its precision is that of the ONNX file's types; no precision flag is set
(TensorRT 11 has none) but TF32, which is on unless cleared. Shapes are static: no optimization profile.
Kernels are picked by timing them, so two builds differ; a timing cache makes the same kernel win again.
Source: https://docs.nvidia.com/deeplearning/tensorrt (Python API; "Migrating from TensorRT 10 to 11").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ponas_deploy.backends._tensorrt_library import TENSORRT, Library
from ponas_deploy.backends._tensorrt_progress import make_monitor
from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

_MIB = 1 << 20
_KEPT_MESSAGES = 50
_SHOWN_CHARACTERS = 300
_WANTS_MORE = re.compile(
    r"increas\w* the (allowed |workspace|memory)|workspace memory greater than|within workspace limit", re.I
)
_WANTS_LESS = re.compile(
    r"out ?of ?memory|cudaErrorMemoryAllocation|cuda failure.* 2\b|not enough memory", re.I
)
_TYPES = re.compile(r"same (input )?type", re.I)
_NO_OPERATOR = re.compile(r"no importer registered|plugin not found|unsupported operator", re.I)


@dataclass(frozen=True)
class BuildPlan:
    """What an engine is built with, besides its model.

    `workspace_mib` limits the scratch memory a kernel may take; `optimization_level` is TensorRT's, 0 to 5:
    higher ones try more kernels and take longer to build. `tf32` allows TF32 where the model says float32.
    `compute_capability` is that of the GPUs that it is built for; empty for the GPU here.
    """

    workspace_mib: int = 1024
    optimization_level: int = 3
    tf32: bool = False
    compute_capability: str = ""

    @property
    def text(self) -> str:
        """For people and environments."""
        target = f", for compute capability {self.compute_capability}" if self.compute_capability else ""
        return (
            f"strongly typed, optimization level {self.optimization_level}, workspace"
            f" {self.workspace_mib} MiB, no auxiliary streams{target}"
        )


@dataclass(frozen=True)
class Built:
    """A serialised engine, and the timing cache with what its build has added."""

    engine: bytes
    timing_cache: bytes


def make_log(library: Library = TENSORRT) -> trt.ILogger:
    """A logger that prints nothing and keeps what went wrong; `reason_of` and `errors_of` tell it."""
    trt = library.load()

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self._errors = [*self._errors, msg][-_KEPT_MESSAGES:]

        def _taken(self) -> list[str]:
            errors, self._errors = self._errors, []
            return errors

    return Log()


def errors_of(log: Any) -> list[str]:
    """What a logger of `make_log` recorded since it was last asked, the first error first."""
    return list(log._taken())


def reason_of(log: Any) -> str:
    """The first of it, in one line."""
    return _reason(errors_of(log))


def _reason(errors: list[str]) -> str:
    return one_line(errors[0]) if errors else "TensorRT gives no reason"


def one_line(text: str) -> str:
    """A message of TensorRT in one line, cut where it goes on for long, without the full stop."""
    line = " ".join(text.split())
    return line[:_SHOWN_CHARACTERS].rstrip(" .")


def build_engine(
    library: Library,
    model: bytes,
    plan: BuildPlan,
    log: trt.ILogger,
    *,
    timing_cache: bytes = b"",
    on_progress: OnBuildProgress | None = None,
) -> Built:
    """Build the engine of an ONNX model; BackendError says which step refused it and why.

    What `on_progress` raises ends the build, and is raised when it has ended.
    """
    trt = library.load()

    try:
        builder = trt.Builder(log)
    except TypeError as error:  # what pybind11 makes of a null pointer
        raise BackendError(
            library.backend,
            f"the builder does not start: {reason_of(log)}; see `nvidia-smi`, and whether this TensorRT"
            " is for the driver's CUDA.",
        ) from error
    network = builder.create_network(_creation_flags(library))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise BackendError(library.backend, _refusal(library, parser, log))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_mib * _MIB)
    config.builder_optimization_level = plan.optimization_level
    config.max_aux_streams = 0
    (config.set_flag if plan.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    if plan.compute_capability:
        library.build_for(config, plan.compute_capability)
    cache = _attached_cache(config, timing_cache) if library.keeps_timings else None
    monitor = make_monitor(trt, on_progress)
    config.progress_monitor = monitor
    errors_of(log)  # a timing cache that was refused is no reason for what comes now
    engine = builder.build_serialized_network(network, config)
    if monitor._raised is not None:
        raise monitor._raised
    if engine is None:
        errors = errors_of(log)
        advice = _advice(library, plan, " ".join(errors))
        raise BackendError(library.backend, f"the engine cannot be built: {_reason(errors)}. {advice}")
    return Built(bytes(engine), bytes(cache.serialize()) if cache is not None else timing_cache)


def _advice(library: Library, plan: BuildPlan, said: str) -> str:
    """What to do about a build that failed, by what the log says."""
    if _WANTS_LESS.search(said):
        return (
            f"Allow less workspace than {plan.workspace_mib} MiB (`workspace_mib`), or end what else uses the"
            " memory."
        )
    if _WANTS_MORE.search(said):
        return f"Allow more workspace than {plan.workspace_mib} MiB (`workspace_mib`)."
    return f"Take another precision, another backend, or a newer {library.product}."


def _creation_flags(library: Library) -> int:
    """Strongly typed: a flag on 10, without effect on 11, where there is nothing else."""
    trt = library.load()

    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _attached_cache(config: trt.IBuilderConfig, saved: bytes) -> trt.ITimingCache | None:
    """The saved timing cache, or an empty one where TensorRT does not take that one."""
    for content in dict.fromkeys((saved, b"")):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    return None


def _refusal(library: Library, parser: trt.OnnxParser, log: trt.ILogger) -> str:
    """Why a model was not parsed."""
    said = reason_of(log)
    if parser.num_errors:
        return _parser_error(library, parser.get_error(0))
    return f"the model cannot be read: {said}. Check it with `onnx.checker.check_model`."


def _parser_error(library: Library, error: trt.ParserError) -> str:
    """The operator that is missing, or what else is wrong with the model.

    An operator that nobody knows has another code in each version, so the words are looked at too.
    """
    said = one_line(error.desc())
    where = f"node '{error.node_name()}' ({error.node_operator()})" if error.node_operator() else "the graph"
    code = str(getattr(error.code(), "name", ""))
    if code.startswith("UNSUPPORTED") or _NO_OPERATOR.search(said):
        return (
            f"{library.product} {library.load().__version__} does not run {where}: {said}. Take another"
            f" operator, another backend, or a newer {library.product}."
        )
    advice = (
        "A network is strongly typed: give the inputs of each node one type."
        if _TYPES.search(said)
        else "Check it with `onnx.checker.check_model`."
    )
    return f"the model cannot be read at {where}: {said}. {advice}"
