"""The CUDA runtime through `cuda-bindings`, without torch: the GPU, a stream, events, graphs, device memory.

Every call of the bindings returns its error code first; `Cuda` turns codes into BackendErrors. The package
imports on a machine without a driver, which is asked for before anything else is.
"""

from __future__ import annotations

import ctypes
import platform
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ponas_deploy.backends._tensorrt_library import TENSORRT, TENSORRT_RTX
from ponas_deploy.errors import BackendError
from ponas_deploy.machines.gpu import cuda_version, driver_library, is_jetson
from ponas_deploy.machines.machine import memory_mib

_LONGEST_WAIT_US = 999_999
_NO_DRIVER = "there is no NVIDIA driver here: install one, or run this on the machine with the GPU"
_THROUGH_DRIVER = "12.8"
"""The last CUDA whose cuda-bindings bring no CUDA runtime of their own."""
_DRIVER_OF_13 = 580
"""The first driver that knows CUDA 13."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA describes it; `cuda` is the newest CUDA its driver knows, as in "13.2"."""

    name: str
    capability: tuple[int, int]
    uuid: str
    cuda: str
    multiprocessors: int


class Cuda:
    """The first GPU that CUDA shows this process, and one stream on it that waits for no other.

    BackendError says what is missing: the package, a driver, a newer driver, a GPU.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        try:
            self.api: Any = import_module("cuda.bindings.runtime")
        except (ImportError, OSError, RuntimeError) as error:
            extra = TENSORRT_RTX.backend if backend == TENSORRT_RTX.backend else TENSORRT.backend
            raise BackendError(
                backend,
                f"the package cuda-bindings cannot be imported ({error}): pip install"
                f" 'ponas-deploy[{extra}]'.",
            ) from error
        self._refuse_without_gpu()
        self.call("no GPU can be used", self.api.cudaSetDevice, 0)
        self.stream = self.call(
            "no stream can be made", self.api.cudaStreamCreateWithFlags, self.api.cudaStreamNonBlocking
        )
        self.gpu = self._describe()
        self._hold = self._find_hold()

    @property
    def fills_queue(self) -> bool:
        """Whether the stream can be held while launches are enqueued."""
        return self._hold is not None

    def call(self, what: str, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
        """What a function of the bindings returns behind its error code, see `check`."""
        code, *values = function(*arguments)
        self.check(what, code)
        return values[0] if values else None

    def check(self, what: str, code: Any) -> None:
        """BackendError for an error code; `what` opens its sentence."""
        if int(code):
            raise BackendError(self._backend, f"{what}: {self._reason(code)}")

    def synchronize(self, what: str) -> None:
        """Wait until the stream is empty; errors of what ran there come out here."""
        self.call(what, self.api.cudaStreamSynchronize, self.stream)

    def free_bytes(self) -> int:
        """Bytes of the GPU's memory that are free.

        A Jetson's is the board's, of which CUDA does not count what only keeps files at hand.
        """
        free = int(self.call("the GPU's memory cannot be read", self.api.cudaMemGetInfo))
        return max(free, memory_mib("available") << 20) if is_jetson() else free

    def clear_error(self) -> None:
        """Forget the last error, so that the next call does not report it again."""
        self.api.cudaGetLastError()

    def is_done(self, event: Any) -> bool:
        """Whether the GPU has reached an event; "not yet" is no error and is forgotten."""
        code = int(self.api.cudaEventQuery(event)[0])
        if code:
            self.clear_error()
        return not code

    def hold_stream(self, time_ns: float) -> None:
        """Keep the stream from what is enqueued next, for about `time_ns` (a second at most).

        A function of the C library that sleeps, run by the driver's own thread: it needs no kernel, no
        Python, and ends by itself whatever happens here, also where more is enqueued than the queue takes.
        """
        if self._hold is not None and (code := self._hold(time_ns)):
            raise BackendError(self._backend, f"the stream cannot be held: CUDA says {code}.")

    def _refuse_without_gpu(self) -> None:
        api = self.api
        try:
            code, count = api.cudaGetDeviceCount()
            if not int(code) and count:
                return
            driver = cuda_version(api.cudaDriverGetVersion()[1] or 0)
            runtime = cuda_version(api.cudaRuntimeGetVersion()[1] or 0)
        except RuntimeError as error:  # 12.8 raises where it does not find the driver's library
            raise BackendError(self._backend, f"{_NO_DRIVER} ({error}).") from error
        if driver == "0.0":
            reason = f"{_NO_DRIVER}."
        elif code == api.cudaError_t.cudaErrorInsufficientDriver:
            reason = _older_driver(driver, runtime, tensorrt=self._backend == TENSORRT.backend)
        else:
            reason = (
                f"CUDA shows no GPU ({self._text(code)}): check `nvidia-smi` and CUDA_VISIBLE_DEVICES, and"
                " start a container with the GPU (docker run --gpus all)."
            )
        raise BackendError(self._backend, reason)

    def _describe(self) -> Gpu:
        found = self.call("the GPU cannot be read", self.api.cudaGetDeviceProperties, 0)
        driver = self.call("the driver cannot be read", self.api.cudaDriverGetVersion)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        number = uuid.UUID(bytes=bytes(found.uuid.bytes))
        capability, units = (found.major, found.minor), int(found.multiProcessorCount)
        return Gpu(name.rstrip("\0"), capability, f"GPU-{number}", cuda_version(driver), units)

    def _find_hold(self) -> Callable[[float], int] | None:
        """Holds the stream for some nanoseconds and returns an error code; None where that cannot be done.

        The driver is asked directly: cuda-bindings takes Python's lock around a host function, and who
        enqueues would sleep with it.
        """
        try:
            launch = driver_library().cuLaunchHostFunc
            sleep = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p)
        except (OSError, TypeError, AttributeError):
            return None
        launch.argtypes, launch.restype = (ctypes.c_void_p,) * 3, ctypes.c_int

        def hold(time_ns: float) -> int:
            wait_us = min(max(1, round(time_ns / 1e3)), _LONGEST_WAIT_US)
            return int(launch(int(self.stream), sleep, wait_us))

        if hold(1):
            return None
        self.synchronize("a host function failed")
        return hold

    def _reason(self, code: Any) -> str:
        if code == self.api.cudaError_t.cudaErrorMemoryAllocation:
            return "the GPU's memory is full. Take a smaller batch, or end what else uses it."
        return f"CUDA says '{self._text(code)}' ({getattr(code, 'name', code)})."

    def _text(self, code: Any) -> str:
        """CUDA's own words for an error; the name of a success that came with no GPU says nothing."""
        if not int(code):
            return "0 devices"
        words = self.api.cudaGetErrorString(code)[1]
        return words.decode() if isinstance(words, bytes) else str(words)


def _older_driver(driver: str, runtime: str, tensorrt: bool) -> str:
    """What to do where cuda-bindings is for a `runtime` that the `driver` does not serve, CUDA both.

    Where their majors agree it is the CUDA runtime inside the package that is refused: since 12.9 that of
    servers is part of it on ARM; 12.8 goes through the driver's own library alone.
    """
    known, wanted = driver.split(".")[0], runtime.split(".")[0]
    said = f"the driver knows CUDA {driver}, and cuda-bindings is for {runtime}: install a newer driver"
    if (known, wanted) == ("12", "12") and runtime != _THROUGH_DRIVER:
        return f"{said}, or pip install 'cuda-bindings=={_THROUGH_DRIVER}.*'."
    if known == wanted:
        return f"{said}."
    bindings = f"'cuda-bindings=={known}.*'"
    # On ARM boards TensorRT is the system's.
    if tensorrt and platform.machine() in ("x86_64", "AMD64"):
        newer = f" ({_DRIVER_OF_13} or later for CUDA 13)" if wanted == "13" else ""
        return (
            f"{said}{newer}, or replace both packages that are for CUDA {wanted}: pip uninstall tensorrt"
            f" tensorrt-cu{wanted}, then pip install tensorrt-cu{known} {bindings}."
        )
    return f"{said}, or pip install {bindings}."
