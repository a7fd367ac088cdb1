"""A stand-in for `tensorrt` and `cuda.bindings.runtime`: it writes down every call and computes real outputs.

Its GPU is the host: device memory is host memory, an "engine" is the ONNX it was built from, with a number
before it (two builds differ, as TensorRT's do), run by ONNX Runtime. Its clock is arithmetic: a run takes
MS_A_RUN.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from enum import Enum, IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ponas_deploy.backends import OnBuildProgress, RunSettings, _cuda, get_backend
from ponas_deploy.backends.onnxruntime_sessions import compiled
from ponas_deploy.measuring.build_process import calibrated
from ponas_deploy.measuring.place import HERE

MS_A_RUN = 0.25
MAGIC = b"plan of the stand-in\n"


class Code(IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorInsufficientDriver = 35  # noqa: N815
    cudaErrorNoDevice = 100  # noqa: N815
    cudaErrorNotReady = 600  # noqa: N815
    cudaErrorStreamCaptureUnsupported = 900  # noqa: N815


class ErrorCode(Enum):
    """Of the parser, by names alone."""

    INVALID_NODE = 1
    INTERNAL_ERROR = 2
    UNSUPPORTED_GRAPH = 3
    UNSUPPORTED_NODE = 4
    UNSUPPORTED_NODE_ATTR = 5
    UNSUPPORTED_NODE_DYNAMIC = 6


class Machine:
    """The state of both: what was called, what is refused, what lies in memory."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.now_ms = 0.0
        self.builds = 0
        self.capturing: list[Callable[[], None]] | None = None
        self.memory: dict[int, Any] = {}
        self.refuse: dict[str, Code] = {}
        self.errors_of_the_parser: list[tuple[str, str, str, str]] = []
        self.build_fails = ""
        self.context_fails = False
        self.name, self.driver, self.version = "NVIDIA Stand-in", 13020, "10.3.0"
        self.capability, self.multiprocessors = (8, 7), 8
        self.flags: list[str] = []
        self.queue_length, self.enqueued = 10**9, 0
        self.free_bytes = 6 << 30
        self.cache_refused: bytes | None = None

    def did(self, what: str) -> Code:
        self.calls.append(what)
        return self.refuse.get(what, Code.cudaSuccess)

    def enqueue(self, work: Callable[[], None]) -> None:
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)


def install(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Put both modules where the backend imports them from, in this process: engines are built in it."""
    machine = Machine()
    runtime = cuda_runtime(machine)
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt(machine))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", tensorrt_rtx(machine))
    monkeypatch.setattr(_cuda, "driver_library", lambda: driver(machine))
    monkeypatch.setattr(HERE, "build", built_here)
    return machine


def built_here(
    model: Path,
    backend: str,
    settings: RunSettings,
    images: NDArray[np.float32] | None,
    on_build: OnBuildProgress | None,
) -> Path:
    """Build in this process, which has the stand-in."""
    runtime = calibrated(get_backend(backend, on_build), images)
    return runtime.save(model.read_bytes(), settings, model.parent)[0]


def driver(machine: Machine) -> Any:
    """`libcuda.so.1`."""

    def hold(stream: int, function: object, wait_us: int) -> int:
        machine.now_ms += wait_us / 1e3
        machine.enqueued = 0
        return machine.did("cuLaunchHostFunc")

    return SimpleNamespace(cuLaunchHostFunc=hold)


def cuda_runtime(machine: Machine) -> Any:
    """`cuda.bindings.runtime`: every function returns its code first."""

    def plain(name: str) -> Callable[..., tuple[Code]]:
        return lambda *arguments: (machine.did(name),)

    def allocate(size: int) -> tuple[Code, int | None]:
        code = machine.did("cudaMalloc")
        if code:
            return code, None
        buffer = ctypes.create_string_buffer(size)
        machine.memory[ctypes.addressof(buffer)] = buffer
        return code, ctypes.addressof(buffer)

    def free(address: int) -> tuple[Code]:
        del machine.memory[address]
        return (machine.did("cudaFree"),)

    def copy(target: int, source: int, size: int, kind: str, stream: object) -> tuple[Code]:
        assert (target if kind == "to device" else source) in machine.memory
        ctypes.memmove(target, source, size)
        return (machine.did("cudaMemcpyAsync"),)

    def record(event: Any, stream: object) -> tuple[Code]:
        event.at = machine.now_ms
        return (machine.did("cudaEventRecord"),)

    def begin(stream: object, mode: str) -> tuple[Code]:
        code = machine.did("cudaStreamBeginCapture")
        machine.capturing = None if code else []
        return (code,)

    def end(stream: object) -> tuple[Code, Any]:
        graph, machine.capturing = machine.capturing, None
        code = machine.did("cudaStreamEndCapture")
        return code, None if code else graph

    def query(event: Any) -> tuple[Code]:
        """Whoever enqueues more than the queue takes has waited until the GPU began."""
        machine.calls.append("cudaEventQuery")
        began = machine.enqueued > machine.queue_length
        return (Code.cudaSuccess if began else Code.cudaErrorNotReady,)

    def launch(graph: list[Callable[[], None]], stream: object) -> tuple[Code]:
        for work in graph:
            work()
        machine.enqueued += 1
        return (machine.did("cudaGraphLaunch"),)

    properties = SimpleNamespace(
        name=machine.name.encode(), major=8, minor=7, uuid=SimpleNamespace(bytes=bytes(range(16)))
    )

    def describe(device: int) -> tuple[Code, Any]:
        properties.name = machine.name.encode()
        properties.major, properties.minor = machine.capability
        properties.multiProcessorCount = machine.multiprocessors
        return machine.did("cudaGetDeviceProperties"), properties

    names = ("cudaSetDevice", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaEventDestroy")
    names += ("cudaGraphDestroy", "cudaGraphExecDestroy", "cudaGetLastError")
    return SimpleNamespace(
        **{name: plain(name) for name in names},
        cudaError_t=Code,
        cudaGetDeviceCount=lambda: (code := machine.did("cudaGetDeviceCount"), None if code else 1),
        cudaDriverGetVersion=lambda: (Code.cudaSuccess, machine.driver),
        cudaRuntimeGetVersion=lambda: (Code.cudaSuccess, 13050),
        cudaGetErrorString=lambda code: (Code.cudaSuccess, f"words for {code.name}".encode()),
        cudaGetDeviceProperties=describe,
        cudaStreamNonBlocking=1,
        cudaStreamCreateWithFlags=lambda flags: (machine.did(f"stream {flags}"), 77),
        cudaStreamCaptureMode=SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread local"),
        cudaMemcpyKind=SimpleNamespace(cudaMemcpyHostToDevice="to device", cudaMemcpyDeviceToHost="to host"),
        cudaMalloc=allocate,
        cudaMemGetInfo=lambda: (machine.did("cudaMemGetInfo"), machine.free_bytes, 8 << 30),
        cudaFree=free,
        cudaMemcpyAsync=copy,
        cudaEventCreate=lambda: (machine.did("cudaEventCreate"), SimpleNamespace(at=0.0)),
        cudaEventRecord=record,
        cudaEventQuery=query,
        cudaEventElapsedTime=lambda start, end: (Code.cudaSuccess, end.at - start.at),
        cudaStreamBeginCapture=begin,
        cudaStreamEndCapture=end,
        cudaGraphInstantiate=lambda graph, flags: (machine.did("cudaGraphInstantiate"), graph),
        cudaGraphLaunch=launch,
    )


class Log:
    """`ILogger`."""

    INTERNAL_ERROR, ERROR, WARNING = 0, 1, 2

    def __init__(self) -> None:
        pass


class Monitor:
    """`IProgressMonitor`."""

    def __init__(self) -> None:
        pass


class Profiler:
    """`IProfiler`."""

    def __init__(self) -> None:
        pass


def tensorrt(machine: Machine) -> Any:
    """The module `tensorrt`."""

    class Config:
        def __init__(self, logger: Log) -> None:
            self.logger = logger
            self.given: Any = None

        def set_memory_pool_limit(self, pool: str, pool_size: int) -> None:
            machine.flags.append(f"{pool} {pool_size >> 20} MiB")

        def set_flag(self, flag: str) -> None:
            machine.flags.append(f"+{flag}")

        def clear_flag(self, flag: str) -> None:
            machine.flags.append(f"-{flag}")

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            if serialized_timing_cache and serialized_timing_cache == machine.cache_refused:
                self.logger.log(Log.ERROR, "the timing cache is of another device")  # type: ignore[attr-defined]
                return None
            return SimpleNamespace(content=serialized_timing_cache)

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            self.given = cache
            machine.did(f"timing cache of {len(cache.content)} bytes")
            return True

    class Builder:
        def __init__(self, logger: Log) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Any:
            machine.flags.append(f"network {flags}")
            return SimpleNamespace(model=b"")

        def create_builder_config(self) -> Config:
            return Config(self.logger)

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            machine.did("build")
            machine.flags.append(f"level {config.builder_optimization_level} aux {config.max_aux_streams}")
            monitor = config.progress_monitor
            monitor.phase_start("Building", None, 2)
            monitor.phase_start("inner", "Building", 1)
            going = monitor.step_complete("Building", 0) and monitor.step_complete("Building", 1)
            monitor.phase_finish("Building")
            if machine.build_fails:
                self.logger.log(Log.ERROR, machine.build_fails)  # type: ignore[attr-defined]
            if machine.build_fails or not going:
                return None
            machine.builds += 1
            if (cache := config.given) is not None:
                content = cache.content + b"timed"
                cache.serialize = lambda: content
            return MAGIC + machine.builds.to_bytes(4, "big") + network.model

    class Parser:
        def __init__(self, network: Any, logger: Log) -> None:
            self._network = network

        @property
        def num_errors(self) -> int:
            return len(machine.errors_of_the_parser)

        def get_error(self, index: int) -> Any:
            code, name, operator, text = machine.errors_of_the_parser[index]
            return SimpleNamespace(
                code=lambda: ErrorCode[code],
                node_name=lambda: name,
                node_operator=lambda: operator,
                desc=lambda: text,
            )

        def parse(self, model: bytes) -> bool:
            self._network.model = model
            return not machine.errors_of_the_parser

    class Context:
        def __init__(self, session: onnxruntime.InferenceSession) -> None:
            self._session, self._addresses = session, dict[str, int]()
            self.profiler: Any = None
            self.enqueue_emits_profile = True

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert stream_handle == 77
            if machine.did("execute"):
                return False
            machine.enqueue(self._compute)
            return True

        def report_to_profiler(self) -> bool:
            assert not self.enqueue_emits_profile
            self.profiler.report_layer_time("first", 0.5)
            self.profiler.report_layer_time("second", 1.5)
            return True

        def _compute(self) -> None:
            machine.now_ms += MS_A_RUN
            source, target = self._session.get_inputs()[0], self._session.get_outputs()[0]
            images = _array(machine, self._addresses[source.name], source)
            (found,) = self._session.run(None, {source.name: images})
            _array(machine, self._addresses[target.name], target)[...] = found

    class Engine:
        def __init__(self, model: bytes) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = 1, 3
            self._session = compiled(onnxruntime, model, options)
            self._ends = (*self._session.get_inputs(), *self._session.get_outputs())
            self.num_io_tensors = len(self._ends)

        def get_tensor_name(self, index: int) -> str:
            return str(self._ends[index].name)

        def get_tensor_mode(self, name: str) -> str:
            return "input" if name == self._ends[0].name else "output"

        def get_tensor_shape(self, name: str) -> list[int]:
            return next(end.shape for end in self._ends if end.name == name)

        def get_tensor_dtype(self, name: str) -> str:
            return next(str(end.type) for end in self._ends if end.name == name)

        def create_execution_context(self) -> Context | None:
            return None if machine.context_fails else Context(self._session)

    class Runtime:
        def __init__(self, logger: Log) -> None:
            machine.did("Runtime")
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            machine.did("deserialize")
            if not serialized_engine.startswith(MAGIC):
                self._logger.log(Log.ERROR, "Magic tag does not match")  # type: ignore[attr-defined]
                return None
            return Engine(serialized_engine[len(MAGIC) + 4 :])

    return SimpleNamespace(
        __version__=machine.version,
        ILogger=Log,
        IProgressMonitor=Monitor,
        IProfiler=Profiler,
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=Runtime,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        BuilderFlag=SimpleNamespace(TF32="TF32"),
        ErrorCode=ErrorCode,
        TensorIOMode=SimpleNamespace(INPUT="input"),
        DataType=SimpleNamespace(FLOAT="tensor(float)", HALF="tensor(float16)"),
    )


SM = Enum("SM", ["NONE", "CURRENT", "SM75", "SM80", "SM86", "SM87", "SM89", "SM120"])


def tensorrt_rtx(machine: Machine) -> Any:
    """The module `tensorrt_rtx`: the same; engines are for a compute capability, no timings are kept."""
    module = tensorrt(machine)

    class Builder(module.Builder):  # type: ignore[misc, name-defined]
        def create_builder_config(self) -> Any:
            config = super().create_builder_config()

            def set_compute_capability(capability: Enum, index: int) -> bool:
                machine.flags.append(f"{capability.name} is {index} of {config.num_compute_capabilities}")
                return True

            def keeps_none(*given: object, **named: object) -> None:
                raise AssertionError("timing cache operations are no-ops in TensorRT-RTX")

            config.num_compute_capabilities = 0
            config.set_compute_capability = set_compute_capability
            config.create_timing_cache = config.set_timing_cache = keeps_none
            return config

    module.Builder, module.ComputeCapability, module.__version__ = Builder, SM, "1.7.1.116"
    return module


def _array(machine: Machine, address: int, end: Any) -> Any:
    """The memory at an address as an array of an input's or output's type and shape."""
    dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[end.type]
    return np.frombuffer(machine.memory[address], dtype).reshape(end.shape)
