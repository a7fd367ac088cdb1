"""An engine that trtexec runs, and the record that lies beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ponas_deploy.backends import _programs
from ponas_deploy.backends import _trtexec_output as output
from ponas_deploy.backends._buffers import check_images
from ponas_deploy.backends._engine_record import EngineRecord, checked
from ponas_deploy.backends._programs import TIMEOUT_S, ProgramSession, checked_times
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError
from ponas_deploy.files.documents import RawDocument
from ponas_deploy.files.records import in_words
from ponas_deploy.files.scratch import Scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "trtexec"
WARM_UP_MS, TIMED_S = 200, 0.25
"""Of each process. CUDA's event times are 32-bit milliseconds: a second in, they are 60 ns apart."""
_MOST_OF_A_SIZE = 1 << 31


@dataclass(frozen=True)
class EngineInterface:
    """What an engine takes and gives; `dtype` is of the input, "float32" or "float16"."""

    input_name: str
    input_shape: tuple[int, ...]
    dtype: str
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class TrtexecRecord(EngineRecord):
    """What lies beside an engine of trtexec: its record, and its interface."""

    input: str
    dtype: Literal["float32", "float16"]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @classmethod
    def of(
        cls, interface: EngineInterface, precision: str, built_for: Mapping[str, str], sha256: str
    ) -> TrtexecRecord:
        """The record of an engine with an interface."""
        shapes = interface.input_shape, interface.output_shape
        dtype: Any = interface.dtype
        return cls(precision, built_for, sha256, interface.input_name, dtype, *shapes)

    @classmethod
    def values(cls, found: RawDocument) -> dict[str, Any]:
        """The same, and those of the interface."""
        dtype, shapes = checked(found, "dtype", str, "text"), {}
        if dtype not in ("float32", "float16"):
            raise found.error("dtype", f"is {in_words(dtype)}, expected 'float32' or 'float16'.")
        for key in ("input_shape", "output_shape"):
            shapes[key] = tuple(checked(found, key, list, "a list"))
            if not all(type(size) is int and 0 < size < _MOST_OF_A_SIZE for size in shapes[key]):
                raise found.error(key, "is no shape: whole numbers above 0 are expected.")
        name = checked(found, "input", str, "text")
        return {**super().values(found), "input": name, "dtype": dtype, **shapes}

    @property
    def interface(self) -> EngineInterface:
        """What the engine takes and gives."""
        return EngineInterface(self.input, self.input_shape, self.dtype, self.output_shape)


class TrtexecSession(ProgramSession):
    """An engine file that trtexec runs; see `backends.Session`.

    `command` starts trtexec with the engine, `flags` are those of timing. `launch_ns` is the median time that
    the latest process needed to enqueue a run. The threads of its settings mean nothing to trtexec.
    """

    def __init__(
        self,
        command: Sequence[str],
        flags: Sequence[str],
        interface: EngineInterface,
        settings: RunSettings,
        folder: Scratch | None = None,
    ) -> None:
        super().__init__(NAME, settings, output.failure, folder)
        self._command, self._flags, self._interface = tuple(command), tuple(flags), interface
        self.launch_ns = 0

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape, to six digits: trtexec writes them as text."""
        self._open()
        interface = self._interface
        check_images(NAME, images, interface.input_shape)
        with Scratch(prefix="trtexec-run-") as folder:
            (Path(folder) / "input.bin").write_bytes(images.astype(interface.dtype).tobytes())
            inputs = f"--loadInputs={interface.input_name}:input.bin"
            flags = ("--iterations=1", "--duration=0", "--warmUp=0", inputs, "--exportOutput=output.json")
            run_program((*self._command, *flags), Path(folder), TIMEOUT_S, "failed while running")
            return _outputs(Path(folder) / "output.json", interface.output_shape)

    def _timed(self, runs: int) -> list[float]:
        """GPU nanoseconds of each run of a new process: at least `runs`, and TIMED_S of them."""

        def read(printed: str, folder: Path) -> list[float]:
            summaries = output.summaries(printed)
            compute, enqueue = summaries.get("GPU Compute Time"), summaries.get("Enqueue Time")
            self.launch_ns = round(1e6 * enqueue.median_ms) if enqueue else 0
            times = output.compute_ns((folder / "times.json").read_text(encoding="utf-8"))
            return checked_times(times, runs, compute.mean_ms if compute else None)

        # A run that begins in the warm-up and ends after it is counted, not written: one more is asked for.
        given = (f"--warmUp={WARM_UP_MS}", f"--duration={TIMED_S}", f"--iterations={runs + 1}")
        return self._times((*self._command, *self._flags, *given, "--exportTimes=times.json"), read)


def run_program(command: Sequence[str], folder: Path, timeout_s: float, what: str) -> str:
    """What trtexec printed, run in `folder`; BackendError with the reason where it failed."""
    return _programs.run_program(NAME, command, folder, timeout_s, what, output.failure)


def _outputs(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        [entry] = json.loads(path.read_text(encoding="utf-8"))
        values = np.array(entry["values"], dtype=np.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendError(NAME, f"wrote no output that can be read ({error}).") from error
    if values.size != prod(shape):
        raise BackendError(NAME, f"wrote {values.size} values, the output has {prod(shape)}.")
    return values.reshape(shape)
