"""Programs that time a model and give no outputs, for boards without Python packages: latency tables only.

    onnxruntime_perf_test   of ONNX Runtime's builds: writes the seconds of every inference into a file
    benchmark_app           of OpenVINO (C++, or Python's): prints median, average, least and most of them

Each visit of a measurement is a process, whose first inferences are not counted. Of benchmark_app the median
counts, because one slow inference at the start moves its average; single inferences cannot be told apart, and
a figure that is printed in too coarse steps is refused. Neither gives outputs, so that no engine of theirs
could be compared with its network (`registry.refuse_without_engines`).
Formats: onnxruntime/test/perftest/performance_result.h; openvino's samples/cpp/benchmark_app and
tools/benchmark_tool (2026.4 was run; of onnxruntime_perf_test and the C++ benchmark_app none was).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ponas_deploy.backends._buffers import check_settings
from ponas_deploy.backends._programs import ProgramSession, checked_times, required_program
from ponas_deploy.backends.onnx_interface import read_interface
from ponas_deploy.backends.onnxruntime_gpu import ONE_OPERATOR
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.backends.registry import no_engines
from ponas_deploy.files.records import sha256
from ponas_deploy.files.scratch import Scratch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WARM_UP_NS, _TIMED_NS = 0.1e9, 0.25e9
_LEAST_WARM_UP, _MOST_RUNS = 16, 20_000
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
        self._program = required_program(kind.name, kind.variable)
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

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> NoReturn:
        """BackendError: it makes no engines."""
        raise no_engines(self.name)

    def open(self, engine: Path, settings: RunSettings) -> NoReturn:
        """BackendError: it makes no engines."""
        raise no_engines(self.name)

    def _described(self) -> str:
        """The runtime, after one operator was run: that also tells whether the program works here."""
        with TimingSession(self._kind, self._program, ONE_OPERATOR, RunSettings()) as session:
            session.time_ns(1)
            build = _BUILD.search(session.printed)
        if build:
            return f"{self.name} of {build.group(1)}"
        return f"{self.name} (sha256 {sha256(Path(self._program))[:16]})"


class TimingSession(ProgramSession):
    """A model that one of the programs times; `printed` is what the latest process said."""

    def __init__(self, kind: _Kind, program: str, model: bytes, settings: RunSettings) -> None:
        folder = Scratch(prefix="timed-")
        super().__init__(kind.name, settings, _failure, folder)
        self._kind, self._program, self._model = kind, program, Path(folder.name) / "model.onnx"
        self._model.write_bytes(model)
        self._run_ns = 0.0
        self.printed = ""

    def run(self, images: NDArray[np.float32]) -> NoReturn:
        """BackendError: the program gives no outputs."""
        raise no_engines(self._kind.name)

    def _timed(self, runs: int) -> list[float]:
        """Nanoseconds of each run of a new process, without those that warm up."""
        warm_up, wanted = _LEAST_WARM_UP, runs
        if self._run_ns:
            warm_up = min(_MOST_RUNS, max(warm_up, round(_WARM_UP_NS / self._run_ns)))
            wanted = max(runs, min(_MOST_RUNS, round(_TIMED_NS / self._run_ns)))

        def read(printed: str, folder: Path) -> list[float]:
            self.printed = printed
            return self._kind.read(printed, folder, warm_up, wanted)

        words = self._kind.words(str(self._model), self._settings.threads, warm_up, wanted)
        times = self._times((self._program, *words), read)
        self._run_ns = sum(times) / len(times)
        return times


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
    """From lines `model,seconds,memory,load,number`; their mean must be the one that was printed."""
    average = _AVERAGE.search(printed)
    if average is None:
        raise ValueError("it printed no average")
    lines = (folder / _RESULTS).read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [words for words in (line.rsplit(",", 4) for line in lines) if len(words) == 5]
    times = [1e9 * float(seconds) for _, seconds, *_ in rows]
    return checked_times(times, warm_up + runs, float(average.group(1)))[warm_up:]


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
