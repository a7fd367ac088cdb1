"""trtexec: recorded outputs of real ones, and the whole backend through a program that behaves like one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends import _trtexec_output as output
from ponas_deploy.backends.trtexec import ENGINE, SIDECAR, VARIABLE, TrtexecBackend, _probe
from ponas_deploy.errors import BackendError, UnknownNameError
from ponas_deploy.machines import nvidia
from searchspace import Architecture, Space
from searchspace.graph import network_model
from searchspace.weights import random_weights

# github.com/NVIDIA/TensorRT issues and public logs: a Tesla M40 with 8.x, and failures of 10.x on others.
SUMMARY_8 = """\
[07/25/2022-19:02:56] [I] === Performance summary ===
[07/25/2022-19:02:56] [I] Throughput: 2.54521e+06 qps
[07/25/2022-19:02:56] [I] Latency: min = 9.47876 ms, max = 51.4163 ms, mean = 16.5801 ms, \
median = 11.6239 ms, percentile(99%) = 47.6256 ms
[07/25/2022-19:02:56] [I] Enqueue Time: min = 0.00854492 ms, max = 0.0578613 ms, mean = 0.012563 ms, \
median = 0.00976562 ms, percentile(99%) = 0.0471191 ms
[07/25/2022-19:02:56] [I] GPU Compute Time: min = 5.99756 ms, max = 9.45909 ms, mean = 7.35231 ms, \
median = 7.1825 ms, percentile(99%) = 9.2168 ms
[07/25/2022-19:02:56] [I] Total Host Walltime: 3.07697 s
[07/25/2022-19:02:56] [W] * GPU compute time is unstable, with coefficient of variance = 7.58229%.
"""
SUMMARY_10 = """\
[I] Latency: min = 6.12 ms, max = 8.45 ms, mean = 6.79 ms, median = 6.75 ms, percentile(90%) = 7.02 ms, \
percentile(95%) = 7.15 ms, percentile(99%) = 7.35 ms
[I] GPU Compute Time: min = 5.95 ms, max = 8.10 ms, mean = 6.55 ms, median = 6.50 ms
&&&& PASSED TensorRT.trtexec
"""
UNKNOWN_OPTION = """\
[10/05/2025-10:46:31] [E] Unknown option: --workspace 2048
&&&& FAILED TensorRT.trtexec [TensorRT v100300] # /usr/src/tensorrt/bin/trtexec --workspace=2048
"""
MEMORY = """\
[11/22/2024-13:40:47] [E] Error[1]: [defaultAllocator.cpp::allocate::31] Error Code 1: \
Cuda Runtime (out of memory)
[11/22/2024-13:40:47] [E] Engine could not be created from network
"""


def test_summaries_of_8_and_10() -> None:
    eight, ten = output.summaries(SUMMARY_8), output.summaries(SUMMARY_10)
    assert eight["GPU Compute Time"] == output.Summary(7.35231, 7.1825)
    assert eight["Enqueue Time"].median_ms == 0.00976562
    assert set(eight) == {"Latency", "Enqueue Time", "GPU Compute Time"}
    assert ten["GPU Compute Time"] == output.Summary(6.55, 6.50)
    assert output.summaries("") == {}


@pytest.mark.parametrize(
    ("banner", "expected"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100600] [b26] # trtexec --help", (10, 6, 0)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101303] [b9] # trtexec --help", (10, 13, 3)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v110100] # trtexec --help", (11, 1, 0)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --help", (8, 6, 1)),
        ("usage: trtexec", None),
    ],
)
def test_versions(banner: str, expected: output.Version | None) -> None:
    assert output.version(banner) == expected


def test_why_it_failed() -> None:
    assert output.failure(UNKNOWN_OPTION, 1) == "Unknown option: --workspace 2048."
    assert output.failure(MEMORY, 1).startswith("the GPU's memory is full. Take a smaller batch")
    assert output.failure("Segmentation fault", -11) == "it ended with code -11."


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            "Cuda failure: no CUDA-capable device is detected\n",
            "no CUDA-capable device is detected. See `nvidia-smi`, and whether this TensorRT is for",
        ),
        (
            "[E] [TRT] CUDA initialization failure with error: 35.\n",
            "CUDA initialization failure with error: 35. See `nvidia-smi`",
        ),
        (
            "trtexec: error while loading shared libraries: libnvinfer.so.10: cannot open it\n",
            "libnvinfer.so.10: cannot open it. Install TensorRT and CUDA of the version",
        ),
        (
            "[I] [TRT] No importer registered for op: NonZero. Attempting to import as plugin.\n"
            "[E] [TRT] ModelImporter.cpp:949: While parsing node number 3 [NonZero]:\n",
            "No importer registered for op: NonZero. Take another operator, another backend, or a newer",
        ),
        (
            "[E] [TRT] ModelImporter.cpp:720: the model is cut short\n[E] Failed to parse onnx file\n",
            "ModelImporter.cpp:720: the model is cut short. Check the model with `onnx.checker.check_model`.",
        ),
    ],
)
def test_what_to_do_about_a_failure_is_said(printed: str, said: str) -> None:
    assert output.failure(printed, 1).startswith(said)


@pytest.mark.parametrize("text", ["{}", "[1]", "[{}]", "not json"])
def test_exported_times_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"no list of runs|Expecting value"):
        output.compute_ns(text)


@pytest.fixture
def model(tiny: Space) -> bytes:
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    return bytes(network_model(architecture, random_weights(architecture), batch=2).SerializeToString())


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((2, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def expected(model: bytes, images: np.ndarray) -> np.ndarray:
    import onnx
    from onnx.reference import ReferenceEvaluator

    return np.asarray(ReferenceEvaluator(onnx.load_model_from_string(model)).run(None, {"input": images})[0])


@pytest.fixture
def log(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trtexec in a folder of its own, named by the environment; its command lines go into the file."""
    folder = tmp_path_factory.mktemp("trtexec")
    program = folder / "bin" / "trtexec"
    program.parent.mkdir()
    source = Path(__file__).with_name("stand_in_trtexec.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(program))
    monkeypatch.setenv("STAND_IN_LOG", str(folder / "log"))
    monkeypatch.setenv("PONAS_HOME", str(folder / "home"))
    reading = nvidia.GpuReading("Orin (nvgpu)", "540.4", compute_capability=(8, 7))
    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": reading)
    _probe.cache_clear()
    return folder / "log"


def calls(log: Path) -> list[list[str]]:
    """The command lines so far, without the question for the version."""
    return [line for line in map(json.loads, log.read_text().splitlines()) if line != ["--help"]]


def names(call: list[str]) -> set[str]:
    return {argument.partition("=")[0] for argument in call}


@pytest.mark.parametrize(
    ("version", "build", "run"),
    [
        ("100000", {"--stronglyTyped"}, {"--useCudaGraph", "--useSpinWait", "--noDataTransfers"}),
        ("101600", {"--stronglyTyped"}, {"--useCudaGraph", "--useSpinWait", "--noDataTransfers"}),
        ("110100", set(), set()),
    ],
)
def test_the_flags_of_both_majors(
    log: Path, model: bytes, monkeypatch: pytest.MonkeyPatch, version: str, build: set[str], run: set[str]
) -> None:
    monkeypatch.setenv("STAND_IN_VERSION", version)
    with get_backend("trtexec").load(model, RunSettings()) as session:
        session.time_ns(3)
    built, timed = calls(log)
    common = {"--onnx", "--saveEngine", "--timingCacheFile", "--maxAuxStreams", "--skipInference", "--noTF32"}
    assert names(built) == common | build
    assert names(timed) == {"--loadEngine", "--warmUp", "--duration", "--iterations", "--exportTimes"} | run


def test_outputs_come_back_through_files(
    log: Path, model: bytes, images: np.ndarray, expected: np.ndarray
) -> None:
    backend = get_backend("trtexec")
    assert backend.precisions() == ("fp32", "tf32", "fp16")
    for precision, error in (("fp32", 1e-4), ("fp16", 0.02)):
        with backend.load(model, RunSettings(precision)) as session:
            found = session.run(images)
            assert session.settings() == RunSettings(precision)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= error * np.abs(expected).max()
    assert "--noDataTransfers" not in names(calls(log)[1])


def test_one_process_serves_one_visit(log: Path, model: bytes) -> None:
    with TrtexecBackend().load(model, RunSettings()) as session:
        assert session.time_ns(1) == 30_000
        assert session.time_ns(9) == 9 * 20_000
        assert session.time_ns(20) == 20 * 20_000 + 2 * 10_000
        assert len(calls(log)) == 2
        assert session.launch_ns == 5_000
        session.begin_visit()
        session.time_ns(1)
        assert len(calls(log)) == 3
        assert session.time_ns(700) > 0
        assert len(calls(log)) == 4, "more than there are need another process"
        assert "--iterations=701" in calls(log)[-1]


def test_a_run_that_straddles_the_warm_up_is_not_missed(
    log: Path, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted as one of those asked for and not written: 2000 here, more than the duration holds."""
    monkeypatch.setenv("STAND_IN", "straddled")
    with TrtexecBackend().load(model, RunSettings()) as session:
        assert session.time_ns(2000) == 2000 * 20_000 + 200 * 10_000


def test_a_saved_engine_is_opened_as_it_is(
    log: Path, model: bytes, images: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    backend, folder = get_backend("trtexec"), tmp_path / "engine"
    files = backend.save(model, RunSettings(), folder)
    assert [file.name for file in files] == [ENGINE, SIDECAR]
    assert sorted(files) == sorted(folder.iterdir())
    content = files[0].read_bytes()
    builds = len(calls(log))
    with backend.open(files[0], RunSettings()) as session:
        assert np.abs(session.run(images) - expected).max() <= 1e-4 * np.abs(expected).max()
    assert files[0].read_bytes() == content
    assert not any("--onnx" in names(call) for call in calls(log)[builds:])


def test_an_engine_of_another_precision_version_gpu_or_content_is_refused(
    log: Path, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TrtexecBackend()
    engine, _ = backend.save(model, RunSettings(), tmp_path / "engine")
    orin = backend.reading()
    with pytest.raises(BackendError, match="is for fp32, not fp16: open it with fp32"):
        backend.open(engine, RunSettings("fp16"))
    with monkeypatch.context() as patch:
        patch.setenv("STAND_IN_VERSION", "101600")
        _probe.cache_clear()
        with pytest.raises(
            BackendError, match=r"for TensorRT 10\.3\.0, and here is TensorRT 10\.16\.0: build"
        ):
            TrtexecBackend().open(engine, RunSettings())
    for reading, sentence in (
        (replace(orin, name="Xavier"), r"for the GPU Orin \(nvgpu\), and here is the GPU Xavier: build"),
        (replace(orin, driver="999.9"), "for driver .*, and here is driver 999.9: build"),
        (replace(orin, driver=""), r"for driver 540\.4, and here is driver unknown: build"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(nvidia, "read_gpu", lambda uuid="", reading=reading: reading)
            with pytest.raises(BackendError, match=sentence):
                backend.open(engine, RunSettings())
    with monkeypatch.context() as patch:
        patch.setattr(nvidia, "read_gpu", lambda uuid="": replace(orin, driver=""))
        nameless, _ = backend.save(model, RunSettings(), tmp_path / "nameless")
        with pytest.raises(BackendError, match="for driver unknown, and here is driver unknown: build"):
            backend.open(nameless, RunSettings())
    engine.write_bytes(engine.read_bytes()[:50])
    with pytest.raises(BackendError, match="was changed or cut short"):
        backend.open(engine, RunSettings())
    with pytest.raises(BackendError, match="cannot open the engine"):
        backend.open(tmp_path / "nowhere" / ENGINE, RunSettings())


@pytest.mark.parametrize(
    ("mishap", "message"),
    [
        ("out of memory", r"cannot build the engine: the GPU's memory is full\. Take a smaller batch"),
        ("unsupported", r"cannot build the engine: ModelImporter.*Tile.*\. Take another operator"),
        ("no engine", "ended well and wrote none"),
    ],
)
def test_builds_that_fail(
    log: Path, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mishap: str, message: str
) -> None:
    backend = get_backend("trtexec")
    monkeypatch.setenv("STAND_IN", mishap)
    for attempt in (
        lambda: backend.load(model, RunSettings()),
        lambda: backend.save(model, RunSettings(), tmp_path / "engine"),
    ):
        with pytest.raises(BackendError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert list((tmp_path / "engine").iterdir()) == []


@pytest.mark.parametrize(
    ("mishap", "message"),
    [
        ("no times", "gave no times that can be read"),
        ("cut times", "gave no times that can be read"),
        ("few runs", "5 runs were asked for, and 1 with a time came back"),
        ("other mean", "it printed a mean of .* ms and wrote runs of"),
    ],
)
def test_odd_output_is_refused(
    log: Path, model: bytes, monkeypatch: pytest.MonkeyPatch, mishap: str, message: str
) -> None:
    with get_backend("trtexec").load(model, RunSettings()) as session:
        monkeypatch.setenv("STAND_IN", mishap)
        with pytest.raises(BackendError, match=message):
            session.time_ns(5)


def test_an_engine_that_trtexec_cannot_read(log: Path, model: bytes) -> None:
    with TrtexecBackend().load(model, RunSettings()) as session:
        folder = session._folder
        assert folder is not None
        (Path(folder.name) / ENGINE).write_bytes(b"something else")
        with pytest.raises(BackendError, match=r"Serialization assertion.*\. Delete the engine, and build"):
            session.time_ns(1)
    assert not Path(folder.name).exists()
    with pytest.raises(BackendError, match="closed"):
        session.time_ns(1)


def test_a_program_that_is_missing_too_old_or_another(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match=r"'/nowhere/trtexec' is no program: install TensorRT 10 or later"):
        TrtexecBackend("/nowhere/trtexec")
    for name, value, message in (
        (
            "STAND_IN_VERSION",
            "8601",
            r"is of TensorRT 8\.6\.1, and 10\.0 is the oldest supported: .* JetPack 6\.1 or later",
        ),
        ("STAND_IN", "another program", "does not say which TensorRT it is of"),
    ):
        _probe.cache_clear()
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(BackendError, match=message):
                get_backend("trtexec")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("ponas_deploy.backends.trtexec.JETPACK", tmp_path / "none")
    with pytest.raises(BackendError, match=rf"nor is it .*, or name the program in \${VARIABLE}"):
        get_backend("trtexec")
    monkeypatch.setenv("PATH", str(log.parent / "bin"))
    _probe.cache_clear()
    assert dict(get_backend("trtexec").environment())["runtime"] == "trtexec of TensorRT 10.3.0"


def test_what_is_refused_before_anything_is_built(log: Path, model: bytes) -> None:
    backend = get_backend("trtexec")
    with pytest.raises(UnknownNameError, match="unknown precision"):
        backend.load(model, RunSettings("int3"))
    with pytest.raises(BackendError, match="not ONNX"):
        backend.load(b"no model", RunSettings())
    assert calls(log) == []
