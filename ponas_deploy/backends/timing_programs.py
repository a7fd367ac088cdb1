"""Programs that time a model and give no outputs, for boards without Python packages: latency tables only.

    onnxruntime_perf_test   of ONNX Runtime's builds: writes the seconds of every inference into a file
    benchmark_app           of OpenVINO (C++, or Python's): prints median, average, least and most of them

Each visit of a measurement is a process, whose first inferences are not counted. Of benchmark_app the median
counts, because one slow inference at the start moves its average; single inferences cannot be told apart, and
a figure that is printed in too coarse steps is refused. Neither gives outputs, so that no engine of theirs
could be compared with its network: `save` and `open` say which package does it.
Formats: onnxruntime/test/perftest/performance_result.h; openvino's samples/cpp/benchmark_app and
tools/benchmark_tool (2026.4 was run; of onnxruntime_perf_test and the C++ benchmark_app none was).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ponas_deploy.backends import registry
from ponas_deploy.backends._buffers import check_settings
from ponas_deploy.backends._programs import RunsOfAVisit, found_program, run_program
from ponas_deploy.backends.onnx_interface import read_interface
from ponas_deploy.backends.onnxruntime_gpu import ONE_OPERATOR
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError
from ponas_deploy.files.records import sha256
from ponas_deploy.files.scratch import Scratch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TIMEOUT_S = 600
_WARM_UP_NS, _TIMED_NS = 0.1e9, 0.25e9
_LEAST_WARM_UP, _MOST_RUNS = 16, 20_000
_MOST_DISAGREEMENT = 0.02
_COARSEST = 0.01
"""Of a printed figure: a step of its last digit, relative to it."""
_RESULTS, _REPORT = "times.csv", "benchmark_report.json"
_AVERAGE = re.compile(r"Average (?:inference )?time cost(?: total)?: ?([\d.eE+-]+) ms")
_MEDIAN = re.compile(r"Median: +([\d]+(?:\.\d+)?) (ms|us)")
_BUILD = re.compile(r"Build \.* *(\S+)")


@dataclass(frozen=True)
class _Kind:
    """One of the two: its name, which environment variable names it, and how times are read, for people.

    `words` are those of its command line, for a model, threads, runs that warm up and runs; `read` gets what
    it printed, the folder it ran in and both numbers of runs, and gives the nanoseconds of each.
    """

    name: str
    variable: str
    timed: str
    words: Callable[[str, int, int, int], tuple[str, ...]]
    read: Callable[[str, Path, int, int], list[float]]


class TimingProgram:
    """A program that times a model on the processor; see `backends.Backend`."""

    def __init__(self, kind: _Kind) -> None:
        self.name, self._kind = kind.name, kind
        named = os.environ.get(kind.variable, "")
        found = found_program(named, kind.name)
        if found is None:
            where = f"'{named}' is no program" if named else "it is not on PATH"
            raise BackendError(kind.name, f"{where}: name the program in ${kind.variable}.")
        self._program = found
        self._runtime = self._described()

    def precisions(self) -> tuple[str, ...]:
        """fp32."""
        return ("fp32",)

    def environment(self) -> tuple[tuple[str, str], ...]:
        """The version, or the program's hash where it tells none, and how times are read."""
        return (("runtime", self._runtime), ("program", self._program), ("timed", self._kind.timed))

    def load(self, model: bytes, settings: RunSettings) -> TimingSession:
        """Keep a model in a folder of its own until the session is closed, and time it for the first time."""
        check_settings(self.name, self.precisions(), settings)
        read_interface(self.name, model)
        session = TimingSession(self._kind, self._program, model, settings)
        try:
            session.time_ns(1)
        except BaseException:
            session.close()
            raise
        return session

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """BackendError: see the module."""
        self._refuse()

    def open(self, engine: Path, settings: RunSettings) -> TimingSession:
        """BackendError: see the module."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise _no_outputs(self._kind.name)

    def _described(self) -> str:
        """The runtime, after one operator was run: that also tells whether the program works here."""
        with TimingSession(self._kind, self._program, ONE_OPERATOR, RunSettings()) as session:
            session.time_ns(1)
            build = _BUILD.search(session.printed)
        if build:
            return f"{self.name} of {build.group(1)}"
        return f"{self.name} (sha256 {sha256(Path(self._program))[:16]})"


class TimingSession:
    """A model that a program times, one process a visit; see `backends.Session`."""

    def __init__(self, kind: _Kind, program: str, model: bytes, settings: RunSettings) -> None:
        self._kind, self._program, self._settings = kind, program, settings
        self._visit = RunsOfAVisit(self._timed)
        self._run_ns = 0.0
        self.printed = ""
        self._folder: Scratch | None = Scratch(prefix="timed-")
        (Path(self._folder.name) / "model.onnx").write_bytes(model)

    @property
    def visit_s(self) -> float:
        """Seconds that the latest process took."""
        return self._visit.visit_s

    def settings(self) -> RunSettings:
        """What the program is told."""
        self._open()
        return self._settings

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """BackendError: the program gives no outputs."""
        raise _no_outputs(self._kind.name)

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` runs took, one right after another, in one process."""
        self._open()
        return self._visit.time_ns(runs)

    def close(self) -> None:
        """Remove the model."""
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = None

    def __enter__(self) -> TimingSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _timed(self, runs: int) -> list[float]:
        """Nanoseconds of each run of a new process, without those that warm up."""
        model, kind = str(self._open() / "model.onnx"), self._kind
        warm_up, wanted = _LEAST_WARM_UP, runs
        if self._run_ns:
            warm_up = min(_MOST_RUNS, max(warm_up, round(_WARM_UP_NS / self._run_ns)))
            wanted = max(runs, min(_MOST_RUNS, round(_TIMED_NS / self._run_ns)))
        with Scratch(prefix="times-") as folder:
            command = (self._program, *kind.words(model, self._settings.threads, warm_up, wanted))
            what = "failed while timing the model"
            self.printed = run_program(kind.name, command, Path(folder), _TIMEOUT_S, what, _failure)
            try:
                times = kind.read(self.printed, Path(folder), warm_up, wanted)
            except (OSError, ValueError) as error:
                raise BackendError(kind.name, f"gave no times that can be read ({error}).") from error
        self._run_ns = sum(times) / len(times)
        return times

    def _open(self) -> Path:
        if self._folder is None:
            raise BackendError(self._kind.name, "the session is closed: load the model again.")
        return Path(self._folder.name)


def _no_outputs(backend: str) -> BackendError:
    """What is raised where outputs of a network are needed."""
    package = registry.entry_of(backend).stands_in_for
    return BackendError(
        backend,
        "gives times and no outputs, so that an engine could not be compared with its network: it serves for"
        f" latency tables, engines take {package} (pip install {package}).",
    )


def perf_test() -> TimingProgram:
    """The backend called `onnxruntime_perf_test`."""
    return TimingProgram(_PERF_TEST)


def benchmark_app() -> TimingProgram:
    """The backend called `benchmark_app`."""
    return TimingProgram(_BENCHMARK_APP)


def _failure(printed: str, code: int) -> str:
    """The last line that names an error, else the last one."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    named = [line for line in lines if re.search("error|fail", line, re.IGNORECASE)]
    said = next(iter([*named[-1:], *lines[-1:]]), "it said nothing")
    return f"{said.rstrip('.')} (exit code {code})."


def _perf_test_words(model: str, threads: int, warm_up: int, runs: int) -> tuple[str, ...]:
    """On the processor, sequential, every optimisation, inputs of its own from a fixed seed."""
    counts = ("-m", "times", "-r", str(warm_up + runs), "-x", str(threads), "-y", "1", "-o", "99")
    return ("-e", "cpu", "-I", "-S", "1", *counts, model, _RESULTS)


def _perf_test_times(printed: str, folder: Path, warm_up: int, runs: int) -> list[float]:
    """From lines `model,seconds,memory,load,number`; their average must be the one that was printed."""
    seconds = list(_seconds((folder / _RESULTS).read_text(encoding="utf-8", errors="replace").splitlines()))
    if len(seconds) != warm_up + runs:
        raise ValueError(f"{warm_up + runs} runs were asked for, and {len(seconds)} with a time came back")
    average = _AVERAGE.search(printed)
    mean_ms = 1e3 * sum(seconds) / len(seconds)
    if average is None or abs(mean_ms / float(average.group(1)) - 1) > _MOST_DISAGREEMENT:
        said = f"{float(average.group(1)):g} ms" if average else "no average"
        raise ValueError(f"it printed {said} and wrote runs of {mean_ms:g} ms")
    return [1e9 * one for one in seconds[warm_up:]]


def _seconds(lines: Sequence[str]) -> Iterator[float]:
    for line in lines:
        words = line.rsplit(",", 4)
        if len(words) == 5:
            value = float(words[1])
            if not (isfinite(value) and value > 0):
                raise ValueError(f"a run of {value:g} s")
            yield value


def _benchmark_app_words(model: str, threads: int, warm_up: int, runs: int) -> tuple[str, ...]:
    """One request at a time on one stream; inputs stay floats (images would become bytes, converted)."""
    one = ("-api", "sync", "-nireq", "1", "-hint", "none", "-nstreams", "1", "-nthreads", str(threads))
    report = ("-report_type", "no_counters", "-report_folder", ".", "-json_stats")
    runs += warm_up
    return (
        "-m",
        model,
        "-d",
        "CPU",
        *one,
        "-infer_precision",
        "f32",
        "-ip",
        "f32",
        "-niter",
        str(runs),
        *report,
    )


def _benchmark_app_times(printed: str, folder: Path, warm_up: int, runs: int) -> list[float]:
    """The median, for each: from the report of the C++ program, where it has all digits, else as printed."""
    report = folder / _REPORT
    exact = next(_medians(json.loads(report.read_text(encoding="utf-8"))), None) if report.is_file() else None
    if exact is not None:
        median_ns = 1e6 * exact
    else:
        found = _MEDIAN.search(printed)
        if found is None:
            raise ValueError("it printed no median")
        text, unit = found.groups()
        step = 10.0 ** -len(text.partition(".")[2])
        if step > _COARSEST * float(text):
            raise ValueError(f"it printed a median of {text} {unit}, in steps that are too coarse for it")
        median_ns = float(text) * {"ms": 1e6, "us": 1e3}[unit]
    if not (isfinite(median_ns) and median_ns > 0):
        raise ValueError(f"a median of {median_ns:g} ns")
    return [median_ns] * runs


def _medians(found: Any) -> Iterator[float]:
    """The medians anywhere in a report, in milliseconds."""
    if isinstance(found, dict):
        if isinstance(median := found.get("latency_median"), (int, float)):
            yield float(median)
        for inner in found.values():
            yield from _medians(inner)
    elif isinstance(found, list):
        for inner in found:
            yield from _medians(inner)


_PERF_TEST = _Kind(
    "onnxruntime_perf_test",
    "PONAS_ONNXRUNTIME_PERF_TEST",
    "each inference by the program's clock, one process a visit",
    _perf_test_words,
    _perf_test_times,
)
_BENCHMARK_APP = _Kind(
    "benchmark_app",
    "PONAS_BENCHMARK_APP",
    "the median inference of one process a visit: single ones are not told apart",
    _benchmark_app_words,
    _benchmark_app_times,
)
