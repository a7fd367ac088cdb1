"""Every runtime there is, one row each: what the rest of the project must know of it besides its file.

To add a runtime, write one file with a class that has what `Backend` asks for, add a row to `ENTRIES`, and
run the contract over it (`ponas_deploy.testing.BackendContract`, see docs/backends.md). A row holds what is
known without the runtime; what only a backend or a session can tell is an optional protocol of `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.backends.protocol import (
    QUANTISED,
    Backend,
    BuildsAhead,
    PicksProcessor,
    ReportsProgress,
)
from ponas_deploy.errors import BackendError, PonasError, UnknownNameError

Processor = Literal["cpu", "gpu"]
CPU: Processor = "cpu"
GPU: Processor = "gpu"

_SLOW_BUILD_S = 1800.0
"""Where kernels are compiled, or picked by timing them, one build may take so long without any output."""


@dataclass(frozen=True)
class BackendEntry:
    """What is known of a runtime without loading it.

    `factory` is "module:attribute" of what returns the backend. `runs_on` names its processors, the preferred
    one first: ("gpu", "cpu") takes a GPU where it sees one. Of those in `default_on` it is profiled with when
    no runtime is named, or in place of `stands_in_for` where that one cannot be used. `install` is what pip
    is given for it. `no_output_s` is how long a build may give no output, in seconds (0: builds take no
    time). With `process_a_visit` every visit of a measurement starts a process. `times_layers` says that
    its sessions have `TimesLayers`, `strongly_typed` that the precision is that of a model's types: the host
    of a board prepares models for it (`onnx_prepared.py`); `quantises` that its int8 is a model with scales,
    written in the same place, and `fuses_hard_swish` that there a hard swish is part of its convolution.
    Boards are sent those `on_boards`. The one `reference` runs the portable network of an engine, and its
    outputs are what those of the engine are compared with. `ahead` is "module:attribute" of what builds
    its engines for a compute capability where there is no such GPU (`BuildsAhead`); empty where it
    cannot. One without `makes_engines` serves for latency tables only: it gives times and no outputs, so
    that no engine of it could be compared. Of one with `streams` several sessions run at once. One that
    is not `real` measures no machine.
    """

    name: str
    factory: str
    runs_on: tuple[Processor, ...]
    default_on: tuple[Processor, ...] = ()
    stands_in_for: str = ""
    install: str = ""
    no_output_s: float = 0.0
    process_a_visit: bool = False
    times_layers: bool = False
    strongly_typed: bool = False
    quantises: bool = False
    fuses_hard_swish: bool = False
    on_boards: bool = True
    reference: bool = False
    makes_engines: bool = True
    ahead: str = ""
    streams: bool = False
    real: bool = True

    @property
    def on_cores_only(self) -> bool:
        """Whether it never runs elsewhere than on this machine's cores, which others may share."""
        return self.real and self.runs_on == (CPU,)

    def runs_on_gpu(self, *, present: bool) -> bool:
        """Whether it runs on a GPU, where one is `present` or none is."""
        return GPU in self.runs_on and (present or CPU not in self.runs_on)


ENTRIES: tuple[BackendEntry, ...] = (
    BackendEntry(
        "onnxruntime",
        "ponas_deploy.backends.onnxruntime:OnnxRuntimeBackend",
        runs_on=(CPU,),
        default_on=(CPU,),
        install="onnxruntime",
        quantises=True,
        streams=True,
        reference=True,
    ),
    BackendEntry(
        "openvino",
        "ponas_deploy.backends.openvino:OpenVinoBackend",
        runs_on=(CPU,),
        default_on=(CPU,),
        install="openvino",
        quantises=True,
        fuses_hard_swish=True,
        streams=True,
    ),
    BackendEntry(
        "onnxruntime_perf_test",
        "ponas_deploy.backends.timing_programs:perf_test",
        runs_on=(CPU,),
        stands_in_for="onnxruntime",
        process_a_visit=True,
        makes_engines=False,
    ),
    BackendEntry(
        "benchmark_app",
        "ponas_deploy.backends.timing_programs:benchmark_app",
        runs_on=(CPU,),
        stands_in_for="openvino",
        process_a_visit=True,
        makes_engines=False,
    ),
    BackendEntry(
        "tensorrt",
        "ponas_deploy.backends.tensorrt:TensorRtBackend",
        runs_on=(GPU,),
        default_on=(GPU,),
        install="tensorrt cuda-bindings",
        no_output_s=_SLOW_BUILD_S,
        times_layers=True,
        strongly_typed=True,
    ),
    BackendEntry(
        "tensorrt-rtx",
        "ponas_deploy.backends.tensorrt:for_rtx",
        runs_on=(GPU,),
        install="'ponas-deploy[tensorrt-rtx]'",
        no_output_s=_SLOW_BUILD_S,
        times_layers=True,
        strongly_typed=True,
        ahead="ponas_deploy.backends.tensorrt_ahead:TensorRtAhead",
    ),
    BackendEntry(
        "trtexec",
        "ponas_deploy.backends.trtexec:TrtexecBackend",
        runs_on=(GPU,),
        stands_in_for="tensorrt",
        no_output_s=_SLOW_BUILD_S,
        process_a_visit=True,
        strongly_typed=True,
    ),
    BackendEntry(
        "onnxruntime-cuda",
        "ponas_deploy.backends.onnxruntime_gpu:cuda",
        runs_on=(GPU,),
        default_on=(GPU,),
        install="'onnxruntime-gpu[cuda,cudnn]'",
        no_output_s=_SLOW_BUILD_S,
        strongly_typed=True,
    ),
    BackendEntry(
        "onnxruntime-tensorrt",
        "ponas_deploy.backends.onnxruntime_gpu:tensorrt",
        runs_on=(GPU,),
        install="'onnxruntime-gpu[cuda,cudnn]' tensorrt",
        no_output_s=_SLOW_BUILD_S,
        strongly_typed=True,
    ),
    BackendEntry(
        "torch",
        "ponas_deploy.backends.torch:cuda_graphs",
        runs_on=(GPU, CPU),
        default_on=(GPU,),
        install="torch",
        no_output_s=_SLOW_BUILD_S,
        on_boards=False,
    ),
    BackendEntry(
        "torch-eager",
        "ponas_deploy.backends.torch:eager",
        runs_on=(GPU, CPU),
        install="torch",
        no_output_s=_SLOW_BUILD_S,
        on_boards=False,
    ),
    BackendEntry(
        "torch-compile",
        "ponas_deploy.backends.torch:compiled",
        runs_on=(GPU, CPU),
        install="torch",
        no_output_s=_SLOW_BUILD_S,
        on_boards=False,
    ),
    BackendEntry(
        "fake",
        "ponas_deploy.backends.fake:FakeBackend",
        runs_on=(CPU,),
        streams=True,
        real=False,
        on_boards=False,
    ),
)


def entry_of(name: str) -> BackendEntry:
    """The row of a runtime; UnknownNameError that lists the real ones."""
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise UnknownNameError("backend", name, known_backends())


def known_backends() -> tuple[str, ...]:
    """The names of all real runtimes, installed or not."""
    return tuple(entry.name for entry in ENTRIES if entry.real)


def default_backends(processor: Processor = CPU) -> tuple[str, ...]:
    """The names of the runtimes that a processor is profiled with when none is named, installed or not."""
    return tuple(entry.name for entry in ENTRIES if processor in entry.default_on)


def stand_in_for(name: str) -> str:
    """Another way to the same engines where a runtime cannot be used; empty where there is none."""
    return next((entry.name for entry in ENTRIES if name and entry.stands_in_for == name), "")


def reference_backend() -> str:
    """The name of the runtime that runs an engine's portable network, for want of the engine or beside it."""
    return next(entry.name for entry in ENTRIES if entry.reference)


def layer_timing_backends() -> tuple[str, ...]:
    """The names of the runtimes that time the layers of an engine."""
    return tuple(entry.name for entry in ENTRIES if entry.times_layers)


def fuses_hard_swish(name: str) -> bool:
    """Whether a runtime by this name computes a hard swish in the convolution before it, in int8."""
    return any(entry.name == name and entry.fuses_hard_swish for entry in ENTRIES)


def strongly_typed(name: str) -> bool:
    """Whether a runtime runs a model in the precision of its types; False for one without a row."""
    return any(entry.name == name and entry.strongly_typed for entry in ENTRIES)


def prepares(name: str, precision: str) -> bool:
    """Whether models are written in a precision before a runtime is given them; False without a row."""
    typed = strongly_typed(name)
    return typed or (precision in QUANTISED and any(one.quantises for one in ENTRIES if one.name == name))


def makes_engines(name: str) -> bool:
    """Whether a runtime makes engines; True for one without a row."""
    return all(entry.makes_engines for entry in ENTRIES if entry.name == name)


def no_engines(name: str) -> BackendError:
    """What is raised where an engine is asked for of a runtime that makes none."""
    entry = entry_of(name)
    package = entry_of(entry.stands_in_for).install if entry.stands_in_for else ""
    line = f"pip install {package}" if package else install_line(entry.runs_on[0])
    return BackendError(
        name,
        "times models for latency tables (`ponas profile`) and makes no engines: for those install another"
        f" runtime beside it ({line}).",
    )


def refuse_without_engines(names: Iterable[str]) -> None:
    """BackendError for the first of these runtimes that makes no engines."""
    for name in names:
        if not makes_engines(name):
            raise no_engines(name)


def with_streams(names: Iterable[str], streams: int, *, named: bool) -> tuple[str, ...]:
    """Those runtimes that run on so many streams; BackendError where one does not that was `named`, or
    none does."""
    given = tuple(names)
    able = tuple(name for name in given if streams == 1 or entry_of(name).streams)
    lacking = [name for name in given if name not in able]
    if lacking and (named or not able):
        those = " and ".join(entry.name for entry in ENTRIES if entry.streams and entry.real)
        raise BackendError(lacking[0], f"is measured on one stream only: {those} run on several.")
    return able


def install_line(processor: Processor = CPU) -> str:
    """The command that installs a processor's default runtimes."""
    return f"pip install {' '.join(entry_of(name).install for name in default_backends(processor))}"


def on_cores_only(name: str) -> bool:
    """Whether a runtime is known to run on the cores and nowhere else; False for one without a row."""
    return any(entry.name == name and entry.on_cores_only for entry in ENTRIES)


def get_backend(name: str, on_build: OnBuildProgress | None = None) -> Backend:
    """The backend called `name`; `on_build` is called with how far its builds are (`ReportsProgress`).

    Raises UnknownNameError that lists the backends, or BackendError with the install line when the
    runtime is not installed.
    """
    module, _, attribute = entry_of(name).factory.partition(":")
    factory: Callable[[], Backend] = getattr(import_module(module), attribute)
    backend = factory()
    if on_build and isinstance(backend, ReportsProgress):
        backend.on_progress = on_build
    return backend


def ahead_of_time(name: str, compute_capability: str, on_build: OnBuildProgress | None = None) -> BuildsAhead:
    """What builds engines of a runtime for GPUs of a compute capability ("8.9"), which need not be here.

    UnknownNameError for no runtime; BackendError for one that builds on its device alone, that is not
    installed, or that has no engines for such GPUs.
    """
    entry = real_entry(name)
    if not entry.ahead:
        able = " or ".join(other.name for other in ENTRIES if other.ahead)
        raise BackendError(
            name,
            "builds engines on the device that runs them and not for a compute capability: leave that out, or"
            f" take {able}.",
        )
    module, _, attribute = entry.ahead.partition(":")
    factory: Callable[[str], BuildsAhead] = getattr(import_module(module), attribute)
    builder = factory(compute_capability)
    builder.on_progress = on_build
    return builder


def searches_kernels(name: str) -> bool:
    """Whether a runtime takes seconds to build each model; False for one without a row."""
    return any(entry.name == name and entry.no_output_s > 0 for entry in ENTRIES)


def is_real(name: str) -> bool:
    """Whether a runtime measures a machine; True for one without a row."""
    return all(entry.real for entry in ENTRIES if entry.name == name)


def real_entry(name: str) -> BackendEntry:
    """The row of what measures a machine: one that is not real is as unknown as any other name."""
    found = entry_of(name)
    if not found.real:
        raise UnknownNameError("backend", name, known_backends())
    return found


def real_backend(name: str) -> Backend:
    """`get_backend` for what measures a machine."""
    return get_backend(real_entry(name).name)


def runs_on_gpu(backend: Backend) -> bool:
    """Whether a backend runs on a GPU here; one that takes either processor is asked."""
    if isinstance(backend, PicksProcessor):
        return backend.on_gpu
    return any(entry.name == backend.name and entry.runs_on == (GPU,) for entry in ENTRIES)


def refuse_other_processor(backend: Backend, *, on_gpu: bool) -> None:
    """PonasError where a runtime does not run on what its table would be named after."""
    if runs_on_gpu(backend) == on_gpu:
        return
    if on_gpu:
        why = backend.why_not_gpu if isinstance(backend, PicksProcessor) else ""
        others = ", ".join(name for name in default_backends(GPU) if name != backend.name)
        raise PonasError(
            f"{backend.name} runs on the CPU here{why and f' ({why})'}: for the GPU, mend that or ask for one"
            f" of {others}."
        )
    raise PonasError(f"{backend.name} runs on the GPU here: ask for --device {GPU}.")
