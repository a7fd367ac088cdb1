"""Programs that only time: the real benchmark_app of the package openvino, and stand-ins for the others.

The stand-in of onnxruntime_perf_test prints and writes what its sources and its documentation say; the real
one, which comes in no package, was not run.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.backends import RunSettings, get_backend, timing_programs
from ponas_deploy.backends.protocol import Backend, StartsProcesses
from ponas_deploy.errors import BackendError, UnknownNameError
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.measuring.protocol import Plan, first_estimate, take_sample
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.profiling.models import block_model, blocks_of
from searchspace import SPACES

PERF_TEST = """#!{python}
import os, sys
from pathlib import Path
words, mishap = sys.argv[1:], os.environ.get("STAND_IN", "")
Path(os.environ["STAND_IN_LOG"]).open("a").write(" ".join(words) + "\\n")
*options, model, results = words
if mishap == "fails":
    print("Setting intra_op_num_threads to 1\\nLoad model from model.onnx failed:Unknown opset")
    sys.exit(255)
assert "-I" in options and Path(model).is_file()
runs = int(options[options.index("-r") + 1])
times = [0.005 if number < 16 else 0.000123456 + number % 2 * 1e-6 for number in range(runs)]
if mishap != "nothing":
    with Path(results).open("a") as file:
        for number, one in enumerate(times[: 3 if mishap == "few" else None]):
            file.write(f"timed-ponas,{{one:g}},12345,98,{{number}}\\n")
average = sum(times) / len(times) * (1000 if mishap != "milliseconds" else 1e6)
print("Session creation time cost: 0.1 s\\nTotal inference requests:", runs)
print(f"Average inference time cost total: {{average:f}} ms")
"""
CPP = """#!{python}
import os, sys
from pathlib import Path
print("[ INFO ] Build ................................. 2022.3.0-9052-releases/2022/3")
print(os.environ["STAND_IN"])
if os.environ.get("STAND_IN_JSON"):
    Path("benchmark_report.json").write_text(os.environ["STAND_IN_JSON"])
"""


@pytest.fixture
def model() -> bytes:
    return block_model(*next(iter(blocks_of(SPACES["ponas"](32, 2)).items())), batch=1)


def program(folder: Path, name: str, source: str) -> Path:
    path = folder / name
    path.write_text(source.format(python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.fixture
def perf_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the command lines of a stand-in."""
    path = program(tmp_path, "onnxruntime_perf_test", PERF_TEST)
    monkeypatch.setenv("PONAS_ONNXRUNTIME_PERF_TEST", str(path))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_single_inferences_of_the_perf_test_without_those_that_warm_up(perf_test: Path, model: bytes) -> None:
    backend = get_backend("onnxruntime_perf_test")
    told = dict(backend.environment())
    assert told["runtime"].startswith("onnxruntime_perf_test (sha256 ")
    with backend.load(model, RunSettings(threads=3)) as session:
        assert session.settings() == RunSettings(threads=3)
        assert sorted({session.time_ns(1) for _ in range(50)}) == [123_456, 124_456]
        assert session.time_ns(10) == 5 * 123_456 + 5 * 124_456
        assert isinstance(session, StartsProcesses)
        assert session.visit_s > 0
    words = perf_test.read_text().splitlines()[-1].split()
    assert words[words.index("-x") + 1] == "3"
    assert tuple(words[:2]) == ("-e", "cpu")
    assert not Path(words[-2]).exists(), "the model is removed"
    with pytest.raises(BackendError, match="closed"):
        session.time_ns(1)


def test_a_sample_is_one_process_and_so_is_each_time_it_is_taken_again(perf_test: Path, model: bytes) -> None:
    plan = plan_for("onnxruntime_perf_test")
    held_up = replace(plan, stalled_ns=-(10**12))
    with get_backend("onnxruntime_perf_test").load(model, RunSettings()) as session:
        first_estimate(session, plan)
        for taken, processes in ((plan, 1), (plan, 1), (held_up, 1 + RETRIES.sample_retakes)):
            before = len(perf_test.read_text().splitlines())
            assert take_sample(session, 5, taken) == pytest.approx(123_956, abs=500)
            assert len(perf_test.read_text().splitlines()) - before == processes


@pytest.mark.parametrize(
    ("mishap", "message"),
    [
        ("fails", r"Load model from model.onnx failed:Unknown opset \(exit code 255\)"),
        ("nothing", "gave no times that can be read"),
        ("few", "17 runs were asked for, and 3 with a time came back"),
        ("milliseconds", "it printed a mean of .* ms and wrote runs of"),
    ],
)
def test_odd_output_is_refused(
    perf_test: Path, monkeypatch: pytest.MonkeyPatch, mishap: str, message: str
) -> None:
    monkeypatch.setenv("STAND_IN", mishap)
    with pytest.raises(BackendError, match=message):
        get_backend("onnxruntime_perf_test")


def refusals(backend: Backend, model: bytes, folder: Path, package: str) -> None:
    """What cannot be had of it."""
    sentence = rf"makes no engines: for those install another runtime beside it \(pip install {package}\)"
    with pytest.raises(BackendError, match=sentence):
        backend.save(model, RunSettings(), folder)
    with pytest.raises(BackendError, match=sentence):
        backend.open(folder / "engine", RunSettings())
    with backend.load(model, RunSettings()) as session, pytest.raises(BackendError, match=sentence):
        session.run(np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(UnknownNameError):
        backend.load(model, RunSettings("fp16"))
    with pytest.raises(BackendError, match="not ONNX"):
        backend.load(b"nothing", RunSettings())


def test_engines_are_refused_in_a_sentence(perf_test: Path, model: bytes, tmp_path: Path) -> None:
    refusals(get_backend("onnxruntime_perf_test"), model, tmp_path, "onnxruntime")


@pytest.mark.parametrize("name", ["onnxruntime_perf_test", "benchmark_app"])
def test_a_program_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"PONAS_{name.upper()}"
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match=f"{name}: it is not on PATH: name the program in .{variable}"):
        get_backend(name)
    monkeypatch.setenv(variable, "/nowhere/program")
    with pytest.raises(BackendError, match="'/nowhere/program' is no program"):
        get_backend(name)


def test_the_real_benchmark_app(model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino")
    path = Path(sys.executable).with_name("benchmark_app")
    if not path.is_file():
        pytest.skip("the package openvino came without its benchmark_app")
    monkeypatch.setenv("PONAS_BENCHMARK_APP", str(path))
    backend = get_backend("benchmark_app")
    assert dict(backend.environment())["runtime"] == f"benchmark_app of {openvino.__version__}"
    plan = plan_for("benchmark_app")
    with backend.load(model, RunSettings()) as session:
        runs, run_ns = first_estimate(session, plan)
        assert runs >= 1
        assert 0 < take_sample(session, runs, plan) < 1e9
        assert run_ns > 0
        assert isinstance(session, StartsProcesses)
        assert session.visit_s > 0
    assert plan != Plan()
    refusals(backend, model, tmp_path, "openvino")


@pytest.mark.parametrize(
    ("printed", "report", "found"),
    [
        ("[ INFO ]    Median:        37.80 us", "", 37_800),
        ("[ INFO ]    Median:     12.34 ms", "", 12_340_000),
        ("[ INFO ]    Median:     0.04 ms", '{"a": [{"latency_median": 0.0378125}]}', 37_812.5),
        ("[ INFO ]    Median:     1.23 ms", '{"execution_results": {"latency (ms)": "1.23"}}', 1_230_000),
        ("[ INFO ]    Median:     0.04 ms", "", "in steps that are too coarse for it"),
        ("[ INFO ]    Median:     0.00 ms", "", "in steps that are too coarse for it"),
        ("[ INFO ] Throughput: 7 FPS", "", "it printed no median"),
        ("", "{", "gave no times that can be read"),
        ("", '{"latency_median": -1}', "a median of"),
    ],
)
def test_the_median_is_read_from_report_or_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, report: str, found: float | str
) -> None:
    """The C++ program's report has all digits; what is printed may be too coarse."""
    monkeypatch.setenv("PONAS_BENCHMARK_APP", str(program(tmp_path, "benchmark_app", CPP)))
    monkeypatch.setenv("STAND_IN", printed)
    monkeypatch.setenv("STAND_IN_JSON", report)
    if isinstance(found, str):
        with pytest.raises(BackendError, match=found):
            get_backend("benchmark_app")
        return
    backend = timing_programs.benchmark_app()
    assert dict(backend.environment())["runtime"] == "benchmark_app of 2022.3.0-9052-releases/2022/3"
    with backend.load(timing_programs.ONE_OPERATOR, RunSettings()) as session:
        assert session.time_ns(4) == round(4 * found)
