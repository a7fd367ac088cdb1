"""PyTorch, so that any GPU with it can be profiled: CUDA graphs, eager, or compiled.

Three names for three ways to run one module (`onnx_fx.py`):

    torch           captured once in a CUDA graph and replayed: the latency without Python
    torch-eager     launched operator by operator: what a plain `module(images)` takes, launches included
    torch-compile   fused by Inductor, then captured in a CUDA graph of our own

On a CPU there is nothing to capture: `torch` and `torch-eager` are the same there. Half precision means
that weights, input and output are in it. Sources: https://docs.pytorch.org/docs/stable/notes/cuda.html
(CUDA graphs, TF32), torch.utils.benchmark.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponas_deploy.backends._buffers import check_settings, import_fault
from ponas_deploy.backends._gpu_protocol import GRAPH, ONE_STREAM
from ponas_deploy.backends._torch_sessions import CpuSession, GpuSession, SharedGpu, import_torch, translated
from ponas_deploy.backends.onnx_fx import torch_module
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError, FileFormatError
from ponas_deploy.files.documents import Format, read_document, write_document
from ponas_deploy.files.records import sha256, write_bytes
from ponas_deploy.machines import nvidia
from ponas_deploy.machines.gpu import read_gpu

NAMES = ("torch", "torch-eager", "torch-compile")
LAYOUTS = ("channels_last", "contiguous")


@dataclass(frozen=True, slots=True)
class TorchRecord:
    """What an engine of PyTorch is: the portable network beside it, to be built again by this backend."""

    backend: str
    precision: str
    model: str
    sha256: str
    environment: Mapping[str, str]


FORMAT = Format("ponas.torch-engine", 1, TorchRecord)
ENGINE, MODEL = "engine.torch.json", "model.onnx"

_EXECUTION = {
    "torch": GRAPH,
    "torch-eager": "eager",
    "torch-compile": f"torch.compile (Inductor), {GRAPH}",
}
_DTYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# Tensor cores and oneDNN read NHWC; float32 runs on the CUDA cores, whose kernels are made for NCHW.
_GPU_LAYOUT = {
    "fp32": "contiguous",
    "tf32": "channels_last",
    "fp16": "channels_last",
    "bf16": "channels_last",
}


class TorchBackend:
    """PyTorch on a GPU where it sees one, else on the CPU.

    `device` is "cuda", "cuda:1", "cpu", or None for the first that is there; `layout` overrides the
    memory layout that the precision has by default. Only the CPU heeds `RunSettings.threads`.
    """

    def __init__(self, name: str = "torch", *, device: str | None = None, layout: str | None = None) -> None:
        try:
            torch = import_torch()
        except (ImportError, OSError) as error:  # OSError: a library of CUDA that is missing
            raise BackendError(name, import_fault(error, "torch")) from error
        if layout is not None and layout not in LAYOUTS:
            raise BackendError(name, f"the layout '{layout}' is none of {', '.join(LAYOUTS)}.")
        self.name = name
        self._torch, self._layout = torch, layout
        with translated(name, "cannot start"):
            self._device = self._find(device)
            self._shared = None if self._device.type == "cpu" else SharedGpu(self._device)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self._shared is not None

    @property
    def why_not_gpu(self) -> str:
        """Why PyTorch sees no GPU, as the part of a sentence; empty on a GPU."""
        if self.on_gpu:
            return ""
        torch = self._torch
        built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else torch.version.hip and "ROCm"
        if not built_for:
            return f"torch {torch.__version__} is built for the CPU only: pytorch.org has builds for CUDA"
        return f"torch {torch.__version__} sees no GPU: the driver must be there, and as new as {built_for}"

    @property
    def device_name(self) -> str:
        """What the GPU calls itself, empty on a CPU; `nvidia.gpu_slug` makes a table's device of it."""
        return str(self._torch.cuda.get_device_name(self._device)) if self.on_gpu else ""

    def reading(self) -> nvidia.GpuReading:
        """Clocks, power, temperature and throttle reasons of this backend's GPU now; empty on a CPU."""
        return read_gpu(self._uuid(), self.device_name) if self.on_gpu else nvidia.GpuReading()

    def free_gpu_bytes(self) -> int | None:
        """Bytes of the GPU's memory that are free, those that PyTorch keeps for itself too; None on a CPU."""
        if not self.on_gpu:
            return None
        cuda = self._torch.cuda
        kept = cuda.memory_reserved(self._device) - cuda.memory_allocated(self._device)
        return int(cuda.mem_get_info(self._device)[0] + kept)

    def layout(self, precision: str) -> str:
        """The memory layout of images, weights and everything between."""
        return self._layout or (_GPU_LAYOUT[precision] if self.on_gpu else "channels_last")

    def precisions(self) -> tuple[str, ...]:
        """fp32 (TF32 off) first; the others where the device has instructions for them."""
        torch = self._torch
        if not self.on_gpu:
            native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
            return ("fp32", "bf16") if native else ("fp32",)
        if torch.version.hip:
            return ("fp32", "fp16", "bf16")
        capability = torch.cuda.get_device_capability(self._device)
        return ("fp32", "tf32", "fp16", "bf16") if capability >= (8, 0) else ("fp32", "fp16")

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that a latency depends on; clocks and heat are `reading`'s."""
        torch = self._torch
        layout = ", ".join(f"{precision} {self.layout(precision)}" for precision in self.precisions())
        common = (("runtime", f"torch {torch.__version__}"), ("layout", layout))
        if self._shared is None:
            return (*common, ("execution", self._cpu_execution()), ("python", platform.python_version()))
        major, minor = torch.cuda.get_device_capability(self._device)
        return (
            *common,
            ("execution", _EXECUTION[self.name]),
            ("queue", "filled before the clock starts" if self._shared.fills_queue else "not filled"),
            ONE_STREAM,
            ("gpu", self.device_name),
            ("gpu_driver", self.reading().driver or "unknown"),
            ("compute_capability", f"{major}.{minor}"),
            ("cuda", str(torch.version.cuda or f"ROCm {torch.version.hip}")),
            ("cudnn", str(torch.backends.cudnn.version())),
            ("cudnn_benchmark", "on"),
            ("python", platform.python_version()),
        )

    @property
    def uncaptured(self) -> tuple[str, ...]:
        """Why modules so far run without a CUDA graph, one reason for each."""
        return tuple(self._shared.uncaptured) if self._shared else ()

    def load(self, model: bytes, settings: RunSettings) -> CpuSession | GpuSession:
        """Build the module, move it to the device, and capture or compile it."""
        check_settings(self.name, self.precisions(), settings)
        return self.session_of(*torch_module(model, self.name), settings)

    def session_of(
        self, module: Any, shape: tuple[int, ...], settings: RunSettings
    ) -> CpuSession | GpuSession:
        """A session of any torch module with one input of `shape`: others' networks, timed like ours."""
        check_settings(self.name, self.precisions(), settings)
        torch, nhwc = self._torch, self.layout(settings.precision) == "channels_last"
        memory_format = torch.channels_last if nhwc else torch.contiguous_format
        with translated(self.name, "cannot load the model"), torch.inference_mode():
            dtype = getattr(torch, _DTYPES[settings.precision])
            placed = module.eval().to(self._device, dtype, memory_format=memory_format)
            images = _random_images(torch, shape).to(self._device, dtype)
            images = images.contiguous(memory_format=memory_format) if len(shape) == 4 else images
            forward = torch.compile(placed, dynamic=False) if self.name == "torch-compile" else placed
            if self._shared is None:
                return CpuSession(self.name, settings, forward, images)
            captured = self.name != "torch-eager"
            return GpuSession(self.name, settings, forward, images, self._shared, captured=captured)

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the portable model and how to run it: PyTorch has no engine that is neither code nor pickle.

        Opening it builds (and captures or compiles) the same module again, on whatever device is there.
        """
        check_settings(self.name, self.precisions(), settings)
        torch_module(model, self.name)
        write_bytes(folder / MODEL, model, overwrite=True)
        digest = hashlib.sha256(model).hexdigest()
        record = TorchRecord(self.name, settings.precision, MODEL, digest, dict(self.environment()))
        write_document(folder / ENGINE, FORMAT, record, overwrite=True)
        return folder / ENGINE, folder / MODEL

    def open(self, engine: Path, settings: RunSettings) -> CpuSession | GpuSession:
        """A session of what `save` wrote; BackendError when it is for another backend or precision."""
        check_settings(self.name, self.precisions(), settings)
        try:
            record = read_document(engine, FORMAT)
        except FileFormatError as error:
            raise BackendError(self.name, f"cannot open the engine: {error}") from error
        made_for, asked = (record.backend, record.precision), (self.name, settings.precision)
        if made_for != asked:
            raise BackendError(
                self.name, f"{engine} is for {' '.join(made_for)}, not {' '.join(asked)}: open it as that."
            )
        model = engine.parent / MODEL
        if not model.is_file() or sha256(model) != record.sha256:
            raise BackendError(
                self.name, f"{model} is missing or was changed since {engine.name} was written."
            )
        return self.load(model.read_bytes(), settings)

    def _find(self, device: str | None) -> Any:
        """The torch device asked for; a GPU that torch does not see is a BackendError."""
        torch = self._torch
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        found = torch.device(device)
        if found.type not in ("cuda", "cpu"):
            raise BackendError(self.name, f"the device '{device}' is not supported: name 'cuda' or 'cpu'.")
        seen = torch.cuda.device_count()
        if found.type == "cuda" and (found.index or 0) >= seen:
            raise BackendError(
                self.name,
                f"'{device}' was asked for, and torch {torch.__version__} sees {seen} GPUs: install a driver"
                " and a CUDA (or ROCm) build of torch, or ask for 'cpu'.",
            )
        return found if found.type == "cpu" else torch.device("cuda", found.index or 0)

    def _uuid(self) -> str:
        return f"GPU-{getattr(self._torch.cuda.get_device_properties(self._device), 'uuid', '')}"

    def _cpu_execution(self) -> str:
        return "torch.compile (Inductor)" if self.name == "torch-compile" else "eager"


def cuda_graphs() -> TorchBackend:
    """The backend called `torch`."""
    return TorchBackend("torch")


def eager() -> TorchBackend:
    """The backend called `torch-eager`."""
    return TorchBackend("torch-eager")


def compiled() -> TorchBackend:
    """The backend called `torch-compile`."""
    return TorchBackend("torch-compile")


def _random_images(torch: Any, shape: tuple[int, ...]) -> Any:
    """The same N(0, 1) images every time: zeros run faster than real data do."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
