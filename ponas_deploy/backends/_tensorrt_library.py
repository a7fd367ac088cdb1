"""The two TensorRTs, and all in which they differ: NVIDIA's TensorRT, and TensorRT for RTX.

TensorRT for RTX has the same API, parser and network. Its engine is bound to a compute capability instead of
one GPU, and its kernels are compiled on the GPU when it is opened; therefore its builder needs no GPU. It
runs on x86-64 with an RTX GPU and nowhere else.
Source: https://docs.nvidia.com/deeplearning/tensorrt-rtx (support matrix; "CPU-only ahead-of-time engines").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ponas_deploy.errors import BackendError

_CAPABILITY = re.compile(r"(\d{1,2})\.(\d)")
_FIRST_WITH_TF32 = (8, 0)
_SM = re.compile(r"SM(\d{1,2})(\d)")


@dataclass(frozen=True)
class Library:
    """One of them: what it is called and imported as, and what its engines are bound to.

    `backend` is its name among ours, `product` NVIDIA's. The first of `modules` that is there is imported.
    Versions before `oldest` are refused, and `install` says how to get one. `key` is the name of its version
    in an engine's identity, `record` the file beside an engine. With `by_capability` an engine is for every
    GPU of a compute capability, else for one GPU with one driver. `first_with_fp32` is the first compute
    capability that it runs float32 on. One that `keeps_timings` of kernels writes them into a timing cache.
    """

    backend: str
    product: str
    modules: tuple[str, ...]
    oldest: tuple[int, int]
    install: str
    key: str
    record: str
    by_capability: bool = False
    oldest_comes_with: str = ""
    first_with_fp32: tuple[int, int] = (0, 0)
    keeps_timings: bool = True

    def load(self) -> Any:
        """The module, untyped: it has no annotations."""
        *others, last = self.modules
        for name in others:
            try:
                return import_module(name)
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise
        return import_module(last)

    def checked_version(self) -> str:
        """Its version; BackendError where it is missing, its library is, or it is too old."""
        try:
            version = str(self.load().__version__)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise BackendError(self.backend, f"cannot be imported ({error}): {self.install}.") from error
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < self.oldest:
            oldest = ".".join(map(str, self.oldest))
            raise BackendError(
                self.backend,
                f"{self.product} {version} is too old: install {oldest} or later{self.oldest_comes_with}.",
            )
        return version

    def precisions(self, capability: tuple[int, int]) -> tuple[str, ...]:
        """What GPUs of a compute capability run natively: fp32 (TF32 off) first, where they do."""
        return (
            *(("fp32",) if capability >= self.first_with_fp32 else ()),
            *(("tf32",) if capability >= _FIRST_WITH_TF32 else ()),
            "fp16",
            "int8",
        )

    def capabilities(self) -> tuple[str, ...]:
        """The compute capabilities that engines can be built for by name, as in "8.9", in order."""
        found = (_SM.fullmatch(name) for name in dir(self.load().ComputeCapability))
        numbers = sorted((int(one[1]), int(one[2])) for one in found if one)
        return tuple(f"{major}.{minor}" for major, minor in numbers)

    def check_capability(self, capability: str) -> tuple[int, int]:
        """Both numbers; BackendError for what is no compute capability or one that no engine is built for."""
        found = _CAPABILITY.fullmatch(capability)
        if not found:
            raise BackendError(
                self.backend,
                f"'{capability}' is no compute capability: give two numbers with a point, as in 8.9"
                " (`nvidia-smi --query-gpu=compute_cap --format=csv` prints a GPU's).",
            )
        if capability not in (known := self.capabilities()):
            raise BackendError(
                self.backend,
                f"{self.product} {self.load().__version__} has no engines for compute capability"
                f" {capability}, only for {', '.join(known)}.",
            )
        return int(found[1]), int(found[2])

    def build_for(self, config: Any, capability: str) -> None:
        """Have a builder's config build for the GPUs of one compute capability."""
        named = getattr(self.load().ComputeCapability, f"SM{capability.replace('.', '')}")
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(named, 0):
            raise BackendError(self.backend, f"the builder does not take compute capability {capability}.")


TENSORRT = Library(
    backend="tensorrt",
    product="TensorRT",
    modules=("tensorrt",),
    oldest=(10, 0),
    install="pip install tensorrt cuda-bindings; on a Jetson it comes with JetPack, make the environment with"
    " --system-site-packages",
    key="tensorrt",
    record="engine.tensorrt.json",
    oldest_comes_with="; on a Jetson that is JetPack 6.1 or later",
)
TENSORRT_RTX = Library(
    backend="tensorrt-rtx",
    product="TensorRT for RTX",
    modules=("tensorrt_rtx", "tensorrt_rtx_bindings"),
    oldest=(1, 7),
    install="pip install 'ponas-deploy[tensorrt-rtx]', on x86-64 with Linux or Windows",
    key="tensorrt_rtx",
    record="engine.tensorrt-rtx.json",
    by_capability=True,
    first_with_fp32=_FIRST_WITH_TF32,  # Turing: "FP32 GEMM is not supported"
    keeps_timings=False,  # "Timing cache operations are no-ops in TensorRT-RTX"
)
