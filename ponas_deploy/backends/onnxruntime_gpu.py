"""ONNX Runtime on an NVIDIA GPU: its CUDA and its TensorRT execution provider, nothing ever on the CPU.

    onnxruntime-cuda       cuDNN's and its own kernels, in a CUDA graph where one can be captured
    onnxruntime-tensorrt   one TensorRT engine, strongly typed: the precision is that of the ONNX file's types

A provider that cannot start, or an operator that it does not have, would go to the CPU unnoticed;
`session.disable_cpu_ep_fallback` makes that an error, and a model of one operator tries the provider before
anything else. Options: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and
TensorRT-ExecutionProvider.html. The TensorRT provider's engine cache stays off: it finds engines by the names
of inputs and nodes (TRTGenerateId), which blocks of different width share.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ponas_deploy.backends._buffers import check_settings, first_line
from ponas_deploy.backends._cuda import Cuda
from ponas_deploy.backends._engine_record import EngineRecord, read_record, write_record
from ponas_deploy.backends._gpu_protocol import GRAPH, ONE_STREAM
from ponas_deploy.backends._onnxruntime_device import DeviceSession
from ponas_deploy.backends.onnx_prepared import prepared
from ponas_deploy.backends.onnxruntime_sessions import compiled, import_onnxruntime, session_options
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError
from ponas_deploy.files.documents import Format
from ponas_deploy.files.home import home
from ponas_deploy.files.records import sha256
from ponas_deploy.machines import nvidia
from ponas_deploy.machines.gpu import first_gpu_identity, read_first_gpu

_PACKAGE = "'onnxruntime-gpu[cuda,cudnn]'"
_NOT_ALONE = "but fallback to CPU EP has been explicitly disabled"
_OUT_OF_MEMORY = ("out of memory", "Failed to allocate memory", "bad allocation")
_MEMORY_FULL = "the GPU's memory is full. Take a smaller batch, or end what else uses it."
_REMEDY = "Check the model with `onnx.checker.check_model`, or take another backend."
FORMAT = Format("ponas.onnxruntime-engine", 1, EngineRecord)
_TF32_OFF = "NVIDIA_TF32_OVERRIDE"
ONE_OPERATOR = (
    b'\x08\x08:X\n\x15\n\x05input\x12\x06output"\x04Relu\x12\x0cone operator'
    b"Z\x17\n\x05input\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x08"
    b"b\x18\n\x06output\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x08B\x04\n\x00\x10\x11"
)
"""A model of one Relu from (1, 8) to (1, 8), opset 17: a board has no package that would make it."""


@dataclass(frozen=True)
class _Kind:
    """One of the two: the provider, the engine file that it writes, and the option of CUDA graphs."""

    name: str
    provider: str
    engine: str
    graph_option: str
    needs: str

    @property
    def record(self) -> str:
        """What lies beside the engine file."""
        return f"{Path(self.engine).stem}.json"


_CUDA = _Kind(
    "onnxruntime-cuda",
    "CUDAExecutionProvider",
    "engine.cuda.onnx",
    "enable_cuda_graph",
    "an NVIDIA driver, CUDA and cuDNN",
)
_TENSORRT = _Kind(
    "onnxruntime-tensorrt",
    "TensorrtExecutionProvider",
    "engine.tensorrt.onnx",
    "trt_cuda_graph_enable",
    "an NVIDIA driver, CUDA and TensorRT",
)


class OnnxRuntimeGpuBackend:
    """One execution provider on the first GPU that CUDA shows this process."""

    def __init__(self, kind: _Kind) -> None:
        self.name, self._kind = kind.name, kind
        self._runtime = import_onnxruntime(kind.name, _PACKAGE)
        self._find_provider()
        self._cuda = _cuda_with_stream(kind.name)
        self._without_graph: list[str] = []
        self._waits = self._start()

    def reading(self) -> nvidia.GpuReading:
        """Clocks, power, temperature and throttle reasons of the GPU now."""
        return read_first_gpu()

    def free_gpu_bytes(self) -> int | None:
        """Bytes of the GPU's memory that are free; None without cuda-bindings."""
        return self._cuda.free_bytes() if self._cuda else None

    def precisions(self) -> tuple[str, ...]:
        """The CUDA provider has fp32 with TF32 off; TensorRT's has TF32 unless the environment forbids it."""
        if self._kind is _TENSORRT:
            return "fp32" if os.environ.get(_TF32_OFF) == "0" else "tf32", "fp16"
        return ("fp32", "tf32", "fp16") if nvidia.has_tf32(self.reading()) else ("fp32", "fp16")

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that a latency depends on; clocks and heat are `reading`'s."""
        return (
            ("runtime", f"{self.name} {self._runtime.__version__}"),
            ("provider", self._kind.provider),
            ("execution", GRAPH),
            ("timed", _TIMED[self._cuda is not None, self._waits]),
            ONE_STREAM,
            *self.reading().environment(),
            ("cuda", str(getattr(self._runtime, "cuda_version", "") or "unknown")),
            *((("conv_algorithms", "searched exhaustively"),) if self._kind is _CUDA else ()),
            ("graph_optimization", "all"),
        )

    @property
    def uncaptured(self) -> tuple[str, ...]:
        """Why models so far run without a CUDA graph, one reason for each."""
        return tuple(self._without_graph)

    def load(self, model: bytes, settings: RunSettings) -> DeviceSession:
        """Compile an ONNX model; without a CUDA graph where none can be captured."""
        check_settings(self.name, self.precisions(), settings)
        return self._session(
            prepared(self.name, model, settings.precision), self._options(settings), settings
        )

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the optimised model, or the model that holds the TensorRT engine: both stay on this GPU."""
        check_settings(self.name, self.precisions(), settings)
        typed = prepared(self.name, model, settings.precision)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".save-") as beside:
            written = Path(beside).resolve() / self._kind.engine
            options = self._options(settings)
            more = {}
            if self._kind is _CUDA:
                options.optimized_model_filepath = str(written)
            else:
                more = {
                    "trt_dump_ep_context_model": "1",
                    "trt_ep_context_embed_mode": "1",
                    "trt_ep_context_file_path": str(written),
                }
            with _translated(self.name, "cannot write the engine"):
                self._compile(typed, options, settings, graph=False, more=more)
                written.replace(folder / self._kind.engine)
        engine, record = folder / self._kind.engine, folder / self._kind.record
        write_record(record, FORMAT, EngineRecord(settings.precision, self._identity(), sha256(engine)))
        return engine, record

    def open(self, engine: Path, settings: RunSettings) -> DeviceSession:
        """A session of what `save` wrote on this machine: nothing is optimised or built again."""
        check_settings(self.name, self.precisions(), settings)
        record = engine.with_name(self._kind.record)
        read_record(self.name, record, FORMAT, engine, settings, self._identity())
        options = self._options(settings)
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return self._session(str(engine), options, settings)

    def _identity(self) -> dict[str, str]:
        return {**first_gpu_identity(self.reading()), "onnxruntime": self._runtime.__version__}

    def _find_provider(self) -> None:
        kind, known = self._kind, self._runtime.get_available_providers()
        if kind.provider not in known:
            raise BackendError(
                kind.name,
                f"onnxruntime {self._runtime.__version__} has no {kind.provider} here"
                f" (it has {', '.join(known)}): pip uninstall onnxruntime, then pip install {_PACKAGE}.",
            )
        if hasattr(self._runtime, "preload_dlls"):  # CUDA and cuDNN that came as Python packages
            with redirect_stdout(io.StringIO()):
                self._runtime.preload_dlls()

    def _start(self) -> bool:
        """Try the provider on one operator: that it was compiled in says nothing about the machine.

        Returns whether every run waits, although the provider was given a stream and told not to. The
        TensorRT provider does so after each replay, the CUDA provider did (microsoft/onnxruntime#28686).
        """
        settings = RunSettings()
        if self._cuda is not None:
            with suppress(BackendError), self._bound(
                ONE_OPERATOR, self._options(settings), settings, graph=True
            ) as session:
                return session.waits
        try:
            with _translated(self.name, "cannot start"):
                self._compile(ONE_OPERATOR, self._options(settings), settings, graph=False)
        except BackendError as error:
            raise BackendError(
                self.name,
                f"{self._kind.provider} does not start here ({error.reason}) It needs {self._kind.needs},"
                f" each of the major version that onnxruntime {self._runtime.__version__} was built for.",
            ) from error
        return self._cuda is None

    def _session(self, model: bytes | str, options: Any, settings: RunSettings) -> DeviceSession:
        """With a CUDA graph, else without one, which is remembered."""
        try:
            return self._bound(model, options, settings, graph=True)
        except BackendError as error:
            if _MEMORY_FULL in error.reason:
                raise
            session = self._bound(model, options, settings, graph=False)
            self._without_graph.append(error.reason)
            return session

    def _bound(
        self, model: bytes | str, options: Any, settings: RunSettings, *, graph: bool
    ) -> DeviceSession:
        with _translated(self.name, "cannot load the model", "" if graph else _REMEDY):
            compiled = self._compile(model, options, settings, graph=graph)
            return DeviceSession(
                self.name,
                self._runtime,
                compiled,
                settings,
                _translated,
                cuda=self._cuda,
                captured=graph,
            )

    def _options(self, settings: RunSettings) -> Any:
        options = session_options(self._runtime, settings)
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return options

    def _compile(
        self,
        model: bytes | str,
        options: Any,
        settings: RunSettings,
        *,
        graph: bool,
        more: dict[str, str] | None = None,
    ) -> Any:
        chosen = {**self._provider_options(settings, graph=graph), **(more or {})}
        session = compiled(self._runtime, model, options, (self._kind.provider, chosen), enable_fallback=0)
        if session.get_providers()[0] != self._kind.provider:
            raise RuntimeError(f"the session runs on {session.get_providers()[0]}")
        return session

    def _provider_options(self, settings: RunSettings, *, graph: bool) -> dict[str, str]:
        common = {"device_id": "0", self._kind.graph_option: str(int(graph))}
        if self._cuda is not None:
            common["user_compute_stream"] = str(int(self._cuda.stream))
        if self._kind is _CUDA:
            return {
                **common,
                "use_tf32": str(int(settings.precision == "tf32")),
                "cudnn_conv_algo_search": "EXHAUSTIVE",
                "cudnn_conv_use_max_workspace": "1",
                # A hundred sessions live side by side in a profile.
                "arena_extend_strategy": "kSameAsRequested",
            }
        cache = home() / "cache" / self.name
        cache.mkdir(parents=True, exist_ok=True)
        return {
            **common,
            "trt_engine_cache_enable": "0",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }


_TIMED = {
    (True, False): "K launches between two CUDA events, the stream held while they are enqueued",
    (
        True,
        True,
    ): "K launches between two CUDA events, every one waited for by the runtime: launch and wait are in it",
    (False, True): "every run waited for, by the host's clock: launch and wait are in it (no stream:"
    " cuda-bindings)",
}
"""How runs are timed, by whether the provider was given a stream and whether every run waits."""


def _cuda_with_stream(name: str) -> Cuda | None:
    """The GPU through `cuda-bindings`; None without that package: the provider then has its own stream."""
    try:
        return Cuda(name)
    except BackendError:
        return None


def cuda() -> OnnxRuntimeGpuBackend:
    """The backend called `onnxruntime-cuda`."""
    return OnnxRuntimeGpuBackend(_CUDA)


def tensorrt() -> OnnxRuntimeGpuBackend:
    """The backend called `onnxruntime-tensorrt`."""
    return OnnxRuntimeGpuBackend(_TENSORRT)


@contextmanager
def _translated(backend: str, what: str, remedy: str = "") -> Iterator[None]:
    """The runtime's errors as ours, those of a GPU with what to do; `remedy` is that for all others."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        text = str(error)
        if any(sign in text for sign in _OUT_OF_MEMORY):
            reason = _MEMORY_FULL
        elif _NOT_ALONE in text:
            reason = (
                "the provider does not run all of it, and the CPU may not help out: take another backend."
            )
        else:
            reason = f"{first_line(error)} {remedy}".rstrip()
        raise BackendError(backend, f"{what}: {reason}") from error
