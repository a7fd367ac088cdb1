"""TensorRT through `trtexec`, the program of NVIDIA's board images: for boards without the Python packages.

It is found in `$PONAS_TRTEXEC`, on PATH, or where JetPack puts it. Engines are built once, strongly typed,
from ONNX whose types are the precision, with one timing cache for all; runs are timed by CUDA events,
replayed as a CUDA graph, input and output on the GPU. TensorRT 11 does all that by default and calls the
flags deprecated, so they are given to 10 only (sampleOptions.cpp of 10.0 to 11.1; `flags` below).

A process of trtexec costs a second or more whatever it times, so one process serves one visit (`_programs`):
every round has processes of its own, as it has samples of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from ponas_deploy.backends import _trtexec_output as output
from ponas_deploy.backends._buffers import check_settings
from ponas_deploy.backends._engine_record import read_record, write_record
from ponas_deploy.backends._gpu_protocol import ONE_STREAM
from ponas_deploy.backends._programs import required_program
from ponas_deploy.backends._trtexec_session import NAME as _NAME
from ponas_deploy.backends._trtexec_session import EngineInterface, TrtexecRecord, TrtexecSession, run_program
from ponas_deploy.backends.onnx_interface import FLOAT, HALF, read_interface
from ponas_deploy.backends.onnx_prepared import prepared
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError
from ponas_deploy.files.documents import Format
from ponas_deploy.files.home import home
from ponas_deploy.files.records import sha256
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.machines import nvidia
from ponas_deploy.machines.gpu import first_gpu_identity, read_first_gpu
from ponas_deploy.machines.names import slug

VARIABLE = "PONAS_TRTEXEC"
JETPACK = Path("/usr/src/tensorrt/bin/trtexec")
FORMAT = Format("ponas.trtexec-engine", 1, TrtexecRecord)
ENGINE, SIDECAR = "engine.trtexec.plan", "engine.trtexec.json"
_OLDEST = (10, 0, 0)
_SECOND_FAMILY = 11
_BUILD_TIMEOUT_S = 3600
_TYPES = {FLOAT: "float32", HALF: "float16"}


@dataclass(frozen=True)
class Program:
    """A trtexec that runs here: where it lies, and of which TensorRT it is."""

    path: str
    version: output.Version

    @property
    def text(self) -> str:
        """`TensorRT 10.3.0`."""
        return f"TensorRT {'.'.join(map(str, self.version))}"

    def flags(self, phase: str) -> tuple[str, ...]:
        """What `phase` ("build" or "run") needs said in this major version: 11 does it unasked."""
        if self.version[0] >= _SECOND_FAMILY:
            return ()
        if phase == "build":
            return ("--stronglyTyped",)
        return "--useCudaGraph", "--useSpinWait", "--noDataTransfers"


class TrtexecBackend:
    """TensorRT on the first GPU that CUDA shows us; `path` overrides where trtexec is looked for."""

    name = _NAME

    def __init__(self, path: str | None = None) -> None:
        install = f"TensorRT {_OLDEST[0]} or later"
        self._program = _probe(required_program(_NAME, VARIABLE, path or "", (JETPACK,), install))

    def reading(self) -> nvidia.GpuReading:
        """Clocks, power, temperature and throttle reasons of the GPU now."""
        return read_first_gpu()

    def precisions(self) -> tuple[str, ...]:
        """fp32 (TF32 off) first; half precision by the types of the model."""
        return ("fp32", "tf32", "fp16") if nvidia.has_tf32(self.reading()) else ("fp32", "fp16")

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that a latency depends on; clocks and heat are `reading`'s."""
        return (
            ("runtime", f"{_NAME} of {self._program.text}"),
            ("trtexec", self._program.path),
            ("execution", "CUDA graph, spin wait, no transfers, strongly typed"),
            ("timed", "GPU compute time of each run, one process a visit"),
            ONE_STREAM,
            *self.reading().environment(),
        )

    def load(self, model: bytes, settings: RunSettings) -> TrtexecSession:
        """Build an engine of an ONNX model, kept in a folder of its own until the session is closed."""
        check_settings(_NAME, self.precisions(), settings)
        folder = Scratch(prefix="trtexec-")
        try:
            interface = self._build(model, settings, Path(folder.name) / ENGINE)
        except BaseException:
            folder.cleanup()
            raise
        return self._session(Path(folder.name) / ENGINE, interface, settings, folder)

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Build an engine into `folder`, beside it what it is of. It stays on this GPU and this TensorRT."""
        check_settings(_NAME, self.precisions(), settings)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".save-") as beside:
            built = Path(beside).resolve() / ENGINE
            interface = self._build(model, settings, built)
            built.replace(folder / ENGINE)
        built_for, digest = self._identity(), sha256(folder / ENGINE)
        record = TrtexecRecord.of(interface, settings.precision, built_for, digest)
        write_record(folder / SIDECAR, FORMAT, record)
        return folder / ENGINE, folder / SIDECAR

    def open(self, engine: Path, settings: RunSettings) -> TrtexecSession:
        """A session of an engine that `save` wrote, as it is; BackendError where it is of something else."""
        check_settings(_NAME, self.precisions(), settings)
        record = read_record(_NAME, engine.with_name(SIDECAR), FORMAT, engine, settings, self._identity())
        return self._session(engine.resolve(), record.interface, settings, None)

    def _identity(self) -> dict[str, str]:
        version = self._program.text[len("TensorRT ") :]
        return {**first_gpu_identity(self.reading()), "tensorrt": version}

    def _session(
        self,
        engine: Path,
        interface: EngineInterface,
        settings: RunSettings,
        folder: Scratch | None,
    ) -> TrtexecSession:
        program = self._program
        return TrtexecSession(
            (program.path, f"--loadEngine={engine}"), program.flags("run"), interface, settings, folder
        )

    def _build(self, model: bytes, settings: RunSettings, engine: Path) -> EngineInterface:
        """Build `engine` and say what it takes and gives."""
        typed = prepared(_NAME, model, settings.precision)
        interface = _interface(typed)
        cached = home() / "cache" / _NAME
        cached.mkdir(parents=True, exist_ok=True)
        timings = f"{slug(self._program.text)}-{self.reading().slug or 'gpu'}.timing"
        with Scratch(prefix="onnx-") as folder:
            given = Path(folder) / "model.onnx"
            given.write_bytes(typed)
            command = (
                self._program.path,
                f"--onnx={given}",
                f"--saveEngine={engine}",
                f"--timingCacheFile={(cached / timings).resolve()}",
                "--maxAuxStreams=0",
                "--skipInference",
                *(() if settings.precision == "tf32" else ("--noTF32",)),
                *self._program.flags("build"),
            )
            run_program(command, Path(folder), _BUILD_TIMEOUT_S, "cannot build the engine")
        if not engine.is_file():
            raise BackendError(_NAME, "cannot build the engine: trtexec ended well and wrote none.")
        return interface


@lru_cache(maxsize=None)
def _probe(path: str) -> Program:
    """Ask a trtexec for its version: it prints it with its help, and needs no GPU for that."""
    printed = run_program((path, "--help"), Path(path).parent, 60, "cannot be asked for its version")
    version = output.version(printed)
    if version is None:
        raise BackendError(_NAME, f"{path} does not say which TensorRT it is of: is it another program?")
    program = Program(path, version)
    if version < _OLDEST:
        raise BackendError(
            _NAME,
            f"{path} is of {program.text}, and {_OLDEST[0]}.0 is the oldest supported: on a Jetson install"
            " JetPack 6.1 or later.",
        )
    return program


def _interface(model: bytes) -> EngineInterface:
    ends = read_interface(_NAME, model)
    for end, what in ((ends.input, "input"), (ends.output, "output")):
        if end.type not in _TYPES:
            raise BackendError(
                _NAME, f"the model's {what} is of ONNX type {end.type}: only float and half are read."
            )
    return EngineInterface(
        ends.input.name,
        ends.input.static_shape(_NAME, "input"),
        _TYPES[ends.input.type],
        ends.output.static_shape(_NAME, "output"),
    )
