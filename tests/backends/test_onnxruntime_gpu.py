"""ONNX Runtime's GPU providers: the session for real on the CPU, options and errors on a stand-in."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from onnxruntime_standin import Gpu

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends._onnxruntime_device import DeviceSession
from ponas_deploy.backends.onnxruntime_gpu import ONE_OPERATOR
from ponas_deploy.errors import BackendError, UnknownNameError
from ponas_deploy.machines import nvidia

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


NO_FALLBACK = (
    "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the default"
    " CPU EP, but fallback to CPU EP has been explicitly disabled by the user."
)


@pytest.fixture
def expected(model: bytes, images: np.ndarray) -> np.ndarray:
    compiled = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(compiled.run(None, {"input": images})[0])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gpu:
    there = Gpu()
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", there.module())
    monkeypatch.setattr("ponas_deploy.backends.onnxruntime_gpu.Cuda", lambda name: there.cuda())
    reading = nvidia.GpuReading("NVIDIA Stand-in", "580.1", compute_capability=(9, 0))
    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": reading)
    return there


def test_the_session_for_real(model: bytes, images: np.ndarray, expected: np.ndarray) -> None:
    compiled = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    settings = RunSettings("fp32", 1)
    with DeviceSession(
        "here",
        onnxruntime,
        compiled,
        settings,
        lambda backend, what: nullcontext(),
        device="cpu",
    ) as session:
        found = session.run(images)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
        session.run(-images)
        session.time_ns(3)
        assert np.array_equal(found, session.run(images))
        assert session.settings() == settings
        assert session.launch_ns == 0
        few, many = (min(session.time_ns(runs) for _ in range(5)) for runs in (2, 200))
        assert 0 < few < many
        with pytest.raises(BackendError, match="shape"):
            session.run(images[:1])
    with pytest.raises(BackendError, match="closed"):
        session.time_ns(1)


def test_a_model_in_half_precision_is_bound_in_half_precision() -> None:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 4]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Relu", ["input"], ["output"])], "half", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    compiled = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    with DeviceSession(
        "here", onnxruntime, compiled, RunSettings(), lambda backend, what: nullcontext(), device="cpu"
    ) as session:
        found = session.run(np.array([[-1.0, 0.1, 2.0, 3.0]], np.float32))
    assert found.dtype == np.float32
    assert np.allclose(found, [[0.0, np.float16(0.1), 2.0, 3.0]], atol=0)
    assert session.launch_ns == 0


def test_the_cuda_provider_is_asked_for_alone_and_exactly(
    gpu: Gpu, model: bytes, images: np.ndarray, expected: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = get_backend("onnxruntime-cuda")
    assert backend.precisions() == ("fp32", "tf32", "fp16")
    for precision, tf32 in (("fp32", "0"), ("tf32", "1")):
        with backend.load(model, RunSettings(precision)) as session:
            assert np.abs(session.run(images) - expected).max() <= 1e-5 * np.abs(expected).max()
        options, chosen = gpu.sessions[-1]
        assert chosen == {
            "device_id": "0",
            "enable_cuda_graph": "1",
            "user_compute_stream": "4711",
            "use_tf32": tf32,
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "cudnn_conv_use_max_workspace": "1",
            "arena_extend_strategy": "kSameAsRequested",
        }
        assert options.entries["session.force_spinning_stop"] == "1"
    assert gpu.runs[-1] == {"disable_synchronize_execution_providers": "1"}
    assert capsys.readouterr().out == ""
    environment = dict(backend.environment())
    assert environment["runtime"] == "onnxruntime-cuda 1.31.1"
    assert environment["execution"] == "CUDA graph"
    assert environment["gpu"] == "NVIDIA Stand-in"
    assert environment["timed"].startswith("K launches between two CUDA events")
    assert environment["streams"] == "1"


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_half_precision_is_in_the_types_of_the_model(
    gpu: Gpu, model: bytes, images: np.ndarray, expected: np.ndarray, name: str
) -> None:
    with get_backend(name).load(model, RunSettings("fp16")) as session:
        found = session.run(images)
    assert 0 < np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()
    assert "trt_fp16_enable" not in gpu.sessions[-1][1]
    assert gpu.inputs[-1] == "tensor(float16)"


def test_runs_are_enqueued_behind_a_held_stream_and_timed_by_events(gpu: Gpu, model: bytes) -> None:
    with get_backend("onnxruntime-cuda").load(model, RunSettings()) as session:
        gpu.calls.clear()
        assert session.time_ns(4) == 3_000_000
        assert gpu.calls == ["hold", "run", "record", *["run"] * 4, "record", "wait", "elapsed"]
        assert session.launch_ns > 0  # type: ignore[attr-defined]
    assert gpu.calls[-2:] == ["destroy"] * 2


@pytest.mark.parametrize(
    ("name", "precision"), [("onnxruntime-cuda", "fp32"), ("onnxruntime-tensorrt", "tf32")]
)
def test_where_a_replay_waits_nothing_is_held_and_that_is_said(
    gpu: Gpu, model: bytes, name: str, precision: str
) -> None:
    """As the TensorRT provider does in every version, whatever it is told."""
    gpu.replay_waits = True
    backend = get_backend(name)
    assert "every one waited for by the runtime: launch and wait" in dict(backend.environment())["timed"]
    with backend.load(model, RunSettings(precision)) as session:
        gpu.calls.clear()
        assert session.time_ns(4) == 3_000_000
        assert gpu.calls == ["record", *["run"] * 4, "record", "wait", "elapsed"]
        assert (session.waits, session.launch_ns) == (True, 0)  # type: ignore[attr-defined]


def test_a_launch_that_is_slow_and_does_not_wait_is_held(
    gpu: Gpu, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than the hold, which is not what makes it take so long."""
    monkeypatch.setattr("ponas_deploy.backends._gpu_protocol.LAUNCHES_HOLD_NS", 1)
    with get_backend("onnxruntime-cuda").load(model, RunSettings()) as session:
        session._clock._launched_ns = lambda launch, held_ns: 3_000_000  # type: ignore[attr-defined]
        monkeypatch.setattr("ponas_deploy.backends._gpu_protocol.LAUNCHES_HOLD_NS", 2_000_000)
        session._clock.time_launches(session._enqueue)  # type: ignore[attr-defined]
        assert not session.waits  # type: ignore[attr-defined]


def test_without_a_stream_every_run_waits_and_that_is_said(
    gpu: Gpu, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise BackendError(name, "the package cuda-bindings cannot be imported.")

    monkeypatch.setattr("ponas_deploy.backends.onnxruntime_gpu.Cuda", refuse)
    backend = get_backend("onnxruntime-cuda")
    with backend.load(model, RunSettings()) as session:
        session.time_ns(1)
    assert "user_compute_stream" not in gpu.sessions[-1][1]
    assert gpu.runs[-1] == {}
    assert dict(backend.environment())["timed"].startswith("every run waited for")


def test_where_no_graph_can_be_captured_it_runs_without_and_says_so(gpu: Gpu, model: bytes) -> None:
    gpu.refuse_graph = "This session cannot use the graph capture feature as requested\nmore"
    backend = get_backend("onnxruntime-cuda")
    with backend.load(model, RunSettings()) as session:
        gpu.calls.clear()
        assert session.time_ns(2) > 0
        assert "hold" not in gpu.calls
    assert gpu.sessions[-1][1]["enable_cuda_graph"] == "0"
    assert backend.uncaptured == (  # type: ignore[attr-defined]
        "cannot load the model: This session cannot use the graph capture feature as requested.",
    )
    assert dict(backend.environment())["execution"] == "CUDA graph"


def test_tensorrt_takes_its_precision_from_the_types_and_keeps_no_engines_by_name(
    gpu: Gpu, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend("onnxruntime-tensorrt")
    assert backend.precisions() == ("tf32", "fp16")
    with backend.load(model, RunSettings("tf32")):
        chosen = gpu.sessions[-1][1]
    assert chosen == {
        "device_id": "0",
        "trt_cuda_graph_enable": "1",
        "user_compute_stream": "4711",
        "trt_engine_cache_enable": "0",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(tmp_path / "home" / "cache" / "onnxruntime-tensorrt"),
    }
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert backend.precisions() == ("fp32", "fp16")
    with pytest.raises(UnknownNameError, match="unknown precision"):
        backend.load(model, RunSettings("tf32"))


@pytest.mark.parametrize(
    ("name", "precision"), [("onnxruntime-cuda", "fp32"), ("onnxruntime-tensorrt", "tf32")]
)
def test_an_engine_is_written_and_opened_as_it_is(
    gpu: Gpu,
    model: bytes,
    images: np.ndarray,
    expected: np.ndarray,
    tmp_path: Path,
    name: str,
    precision: str,
) -> None:
    backend = get_backend(name)
    folder = tmp_path / "engine"
    engine, record = backend.save(model, RunSettings(precision), folder)
    assert sorted(folder.iterdir()) == sorted((engine, record))
    with backend.open(engine, RunSettings(precision)) as session:
        found = session.run(images)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    level = gpu.sessions[-1][0].graph_optimization_level  # type: ignore[attr-defined]
    assert level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def test_an_engine_of_another_machine_or_content_is_refused_in_words(
    gpu: Gpu, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend("onnxruntime-cuda")
    engine, record = backend.save(model, RunSettings(), tmp_path)
    opened = len(gpu.sessions)
    here = "NVIDIA Stand-in"
    for name, driver, sentence in (
        ("Other", "580.1", f"for the GPU {here}, and here is the GPU Other: build it"),
        (here, "590.2", "for driver 580.1, and here is driver 590.2: build it"),
    ):
        reading = nvidia.GpuReading(name, driver, compute_capability=(9, 0))
        monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="", reading=reading: reading)
        with pytest.raises(BackendError, match=sentence):
            backend.open(engine, RunSettings())
    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": nvidia.GpuReading())
    with pytest.raises(BackendError, match=r"and here is the GPU unknown, .*driver unknown"):
        backend.open(engine, RunSettings())
    reading = nvidia.GpuReading(here, "580.1", compute_capability=(9, 0))
    monkeypatch.setattr(nvidia, "read_gpu", lambda uuid="": reading)
    backend.open(engine, RunSettings()).close()
    assert len(gpu.sessions) == opened + 1
    with pytest.raises(BackendError, match="is for fp32, not fp16"):
        backend.open(engine, RunSettings("fp16"))
    backend._runtime.__version__ = "1.32.0"  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match=r"ONNX Runtime 1\.31\.1, and here is ONNX Runtime 1\.32\.0"):
        backend.open(engine, RunSettings())
    backend._runtime.__version__ = "1.31.1"  # type: ignore[attr-defined]
    engine.write_bytes(engine.read_bytes()[:50])
    with pytest.raises(BackendError, match="was changed or cut short"):
        backend.open(engine, RunSettings())
    record.unlink()
    with pytest.raises(BackendError, match="cannot open the engine"):
        backend.open(engine, RunSettings())


def test_a_full_memory_says_what_to_do_and_is_not_tried_again(gpu: Gpu, model: bytes) -> None:
    backend = get_backend("onnxruntime-cuda")
    before = len(gpu.sessions)
    gpu.refuse_all = "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 1"
    with pytest.raises(BackendError, match=r"memory is full\. Take a smaller batch"):
        backend.load(model, RunSettings())
    assert len(gpu.sessions) == before + 1


def test_an_operator_that_would_go_to_the_cpu_is_an_error(gpu: Gpu, model: bytes) -> None:
    backend = get_backend("onnxruntime-cuda")
    gpu.refuse_all = NO_FALLBACK
    with pytest.raises(
        BackendError, match="does not run all of it, and the CPU may not help out: take another"
    ):
        backend.load(model, RunSettings())


def test_a_model_that_is_not_parsed_or_built_is_one_sentence_with_a_next_step(gpu: Gpu, model: bytes) -> None:
    backend = get_backend("onnxruntime-tensorrt")
    for bad, refusal in ((b"no model", ""), (model, "TensorRT EP failed to create engine from network.")):
        gpu.refuse_all = refusal
        with pytest.raises(BackendError) as caught:
            backend.load(bad, RunSettings("tf32"))
        said = str(caught.value)
        assert said.startswith("onnxruntime-tensorrt: cannot load the model: "), said
        assert refusal in said
        assert said.endswith("Check the model with `onnx.checker.check_model`, or take another backend.")
        assert "\n" not in said


def test_the_model_that_tries_a_provider_is_one_operator() -> None:
    import onnx

    model = onnx.load_model_from_string(ONE_OPERATOR)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu"]
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(ONE_OPERATOR, providers=["CPUExecutionProvider"])
    images = np.arange(-4, 4, dtype=np.float32).reshape(1, 8)
    (found,) = session.run(None, {"input": images})
    assert np.array_equal(found, np.maximum(images, 0))


def test_a_provider_that_does_not_start_names_what_it_needs(gpu: Gpu) -> None:
    gpu.refuse_all = NO_FALLBACK
    with pytest.raises(BackendError) as caught:
        get_backend("onnxruntime-cuda")
    assert "CUDAExecutionProvider does not start here" in str(caught.value)
    assert "an NVIDIA driver, CUDA and cuDNN, each of the major version" in str(caught.value)
    gpu.refuse_all, gpu.stands_in = "", True
    with pytest.raises(BackendError, match="the session runs on CPUExecutionProvider"):
        get_backend("onnxruntime-tensorrt")


def test_a_package_without_the_provider_comes_with_the_install_line() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    with pytest.raises(BackendError) as caught:
        get_backend("onnxruntime-cuda")
    assert "has no CUDAExecutionProvider here" in str(caught.value)
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_runtime_at_all_comes_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match="pip install 'onnxruntime-gpu"):
        get_backend("onnxruntime-tensorrt")
