"""The TensorRT backend on a stand-in: the contract of all runtimes, order of calls, cache, bad luck."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from io import StringIO
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest
import tensorrt_standin
import test_contract
from rich.console import Console
from tensorrt_standin import MS_A_RUN, Code, Machine
from test_contract import *  # noqa: F403  (the contract, over the backend below)
from test_contract import SHAPE

from ponas_deploy.backends import RunSettings, _cuda, get_backend
from ponas_deploy.backends._tensorrt_build import BuildPlan
from ponas_deploy.backends._tensorrt_files import Cache
from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.tensorrt import TensorRtBackend
from ponas_deploy.deploy import _on_this_machine, build_and_measure
from ponas_deploy.deploy.task import WeightsSource, random_source
from ponas_deploy.engines import build, emit, layer_times_ms
from ponas_deploy.engines.building import backend_for
from ponas_deploy.engines.manifest import Manifest
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.measure import Plan
from ponas_deploy.profile.bench import Bench
from ponas_deploy.progress import BuildProgress
from ponas_deploy.reports.layers import layers_report
from ponas_deploy.tables import Conditions
from searchspace import Architecture, Space, build_space, parse_architecture
from searchspace.graph import network_model
from searchspace.weights import random_weights

PRECISIONS = ("fp32", "tf32", "fp16", "int8")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return tensorrt_standin.install(monkeypatch)


@pytest.fixture
def backend(machine: Machine) -> TensorRtBackend:
    found = get_backend("tensorrt")
    assert isinstance(found, TensorRtBackend)
    return found


def again(machine: Machine) -> TensorRtBackend:
    """What a fresh process has."""
    return TensorRtBackend()


def test_the_contract_is_the_one_of_all_runtimes() -> None:
    names = [name for name in vars(test_contract) if name.startswith("test_")]
    assert len(names) > 10
    assert all(globals()[name] is getattr(test_contract, name) for name in names)


def test_cuda_is_asked_for_a_gpu_before_tensorrt_is_touched(machine: Machine) -> None:
    TensorRtBackend()
    assert machine.calls.index("cudaGetDeviceCount") < machine.calls.index("Runtime")
    machine.refuse["cudaGetDeviceCount"] = Code.cudaErrorNoDevice
    machine.calls.clear()
    with pytest.raises(BackendError, match=r"shows no GPU .*nvidia-smi"):
        TensorRtBackend()
    assert "Runtime" not in machine.calls


def test_a_driver_that_is_missing_or_too_old_is_told_apart(machine: Machine) -> None:
    machine.refuse["cudaGetDeviceCount"] = Code.cudaErrorInsufficientDriver
    machine.driver = 12060
    with pytest.raises(BackendError, match=r"knows CUDA 12\.6.*is for 13\.5.*cuda-bindings==12\.\*"):
        TensorRtBackend()
    machine.driver = 0
    with pytest.raises(BackendError, match="no NVIDIA driver here: install one"):
        TensorRtBackend()


def test_what_is_not_installed_comes_with_the_install_line(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendError, match=r"cuda-bindings cannot be imported .*pip install"):
        TensorRtBackend()


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'tensorrt'"),
        OSError("libnvinfer.so.11: cannot open shared object file: No such file or directory"),
        RuntimeError("TensorRT libraries are not installed"),
    ],
)
def test_a_tensorrt_that_is_missing_or_lacks_its_library_is_one_sentence(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def missing() -> None:
        raise error

    monkeypatch.setattr("ponas_deploy.backends.tensorrt.import_tensorrt", missing)
    with pytest.raises(BackendError) as caught:
        get_backend("tensorrt")
    assert f"cannot be imported ({error}): pip install tensorrt" in str(caught.value)
    assert "--system-site-packages" in str(caught.value)
    assert machine.calls == [], "and CUDA is not touched"


def test_an_old_tensorrt_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(__import__("sys").modules["tensorrt"], "__version__", "8.6.1")
    with pytest.raises(BackendError, match=r"TensorRT 8\.6\.1 is too old: install 10\.0 or later"):
        TensorRtBackend()


def test_a_runtime_that_does_not_start_is_a_backend_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(logger: object) -> None:
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(__import__("sys").modules["tensorrt"], "Runtime", nothing)
    with pytest.raises(BackendError, match="the runtime does not start"):
        TensorRtBackend()


def test_the_network_is_strongly_typed_and_tf32_is_off_unless_asked_for(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    for precision in PRECISIONS:
        backend.load(model, RunSettings(precision)).close()
        switch = "+TF32" if precision == "tf32" else "-TF32"
        assert machine.flags == ["network 2", "workspace 1024 MiB", switch, "level 3 aux 0"], precision
        machine.flags.clear()


def test_tensorrt_11_has_no_flag_for_strong_types_and_needs_none(
    backend: TensorRtBackend, machine: Machine, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = __import__("sys").modules["tensorrt"].NetworkDefinitionCreationFlag
    monkeypatch.delattr(flags, "STRONGLY_TYPED")
    backend.load(model, RunSettings()).close()
    assert machine.flags[0] == "network 0"


def test_a_gpu_before_ampere_has_no_tf32(machine: Machine) -> None:
    machine.capability = (7, 5)
    assert TensorRtBackend().precisions() == ("fp32", "fp16", "int8")


def test_a_session_runs_captures_and_then_replays(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    with backend.load(model, RunSettings()) as session:
        assert session.captured
        assert machine.calls.count("execute") == 5  # the input's, three to warm up, and the captured one
        machine.calls.clear()
        assert session.time_ns(3) == round(3 * MS_A_RUN * 1e6)
        launches = ["cudaGraphLaunch"] * 3
        assert machine.calls == [
            "cuLaunchHostFunc",
            "cudaGraphLaunch",
            "cudaEventRecord",
            *launches,
            "cudaEventRecord",
            "cudaStreamSynchronize",
        ]
        assert session.launch_ns > 0
    environment = dict(backend.environment())
    assert (environment["execution"], environment["streams"]) == ("CUDA graph", "1")
    assert backend.uncaptured == ()
    assert "a host function sleeps" in dict(backend.environment())["queue"]


@pytest.mark.parametrize("step", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_where_a_capture_fails_runs_are_enqueued_and_it_is_told(
    backend: TensorRtBackend, machine: Machine, model: bytes, images: np.ndarray, step: str
) -> None:
    with backend.load(model, RunSettings()) as session:
        expected = session.run(images)
    machine.refuse[step] = Code.cudaErrorStreamCaptureUnsupported
    with backend.load(model, RunSettings()) as session:
        assert not session.captured
        assert "cudaGetLastError" in machine.calls
        assert np.array_equal(session.run(images), expected)
        machine.calls.clear()
        assert session.time_ns(2) == round(2 * MS_A_RUN * 1e6)
        assert "cuLaunchHostFunc" not in machine.calls
        assert machine.calls.count("execute") == 2
    (reason,) = backend.uncaptured
    assert "words for cudaErrorStreamCaptureUnsupported" in reason
    # What a journal and a table are compared by stays the same, so that the profile can go on.
    assert backend.environment() == again(machine).environment()


def test_without_host_functions_the_queue_is_not_filled_and_that_is_told(
    machine: Machine, model: bytes
) -> None:
    machine.refuse["cuLaunchHostFunc"] = Code.cudaErrorNoDevice
    backend = TensorRtBackend()
    assert dict(backend.environment())["queue"] == "not filled"
    with backend.load(model, RunSettings()) as session:
        assert session.time_ns(2) == round(2 * MS_A_RUN * 1e6)


DRIVER = """
#include <pthread.h>
static pthread_t thread;
int cuLaunchHostFunc(void *stream, void *(*function)(void *), void *data) {
    return pthread_create(&thread, 0, function, data);
}
int wait_for_it(void) { return pthread_join(thread, 0); }
"""


def test_what_holds_the_stream_is_the_c_librarys_sleep(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A driver that calls what it is given from a thread of its own, as CUDA does: no Python is in it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler: install gcc")
    (tmp_path / "driver.c").write_text(DRIVER)
    library = tmp_path / "libdriver.so"
    options = ["-shared", "-fPIC", "-pthread", "-w"]
    subprocess.run([compiler, *options, "-o", library, tmp_path / "driver.c"], check=True)
    loaded = ctypes.CDLL(str(library))
    monkeypatch.setattr(_cuda, "driver_library", lambda: loaded)
    cuda = _cuda.Cuda("tensorrt")
    assert cuda.fills_queue
    start = perf_counter_ns()
    cuda.hold_stream(50e6)
    assert loaded.wait_for_it() == 0
    assert perf_counter_ns() - start >= 50e6


def test_a_session_leaves_nothing_on_the_gpu(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    with backend.load(model, RunSettings()):
        assert len(machine.memory) == 2
    assert machine.memory == {}
    assert machine.calls.count("cudaEventDestroy") == 2
    assert machine.calls.count("cudaGraphExecDestroy") == 1


def test_layers_are_timed_in_runs_of_their_own(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    with backend.load(model, RunSettings()) as session:
        before = machine.calls.count("execute")
        assert session.layer_times_ms(4) == (("first", 0.5), ("second", 1.5))
        assert machine.calls.count("execute") == before + 4


def test_an_engine_is_built_once_and_saved_as_it_was_timed(
    backend: TensorRtBackend, machine: Machine, model: bytes, tmp_path: Path
) -> None:
    for precision in PRECISIONS:
        settings = RunSettings(precision)
        builds = machine.builds
        backend.load(model, settings).close()
        files = again(machine).save(model, settings, tmp_path / precision)
        again(machine).load(model, settings).close()
        assert machine.builds == builds + 1
        assert [file.name for file in files] == [
            "engine.plan",
            "engine.onnx",
            "engine.timing-cache",
            "engine.tensorrt.json",
        ]
        plan, fed = files[0].read_bytes(), files[1].read_bytes()
        assert plan.endswith(fed)
        assert fed == backend.fed_model(model, precision)
        backend.open(files[0], settings).close()
        assert machine.builds == builds + 1


def test_what_is_deployed_is_the_engine_that_was_profiled(
    machine: Machine, tiny: Space, tmp_path: Path
) -> None:
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    weights = random_weights(architecture)
    made = network_model(architecture, weights, 2).SerializeToString()
    TensorRtBackend().load(made, RunSettings("fp16")).close()
    engine = build(architecture, weights, Conditions("gpu", "tensorrt", "fp16", 1, 2), tmp_path)
    assert (engine.name, machine.builds) == ("engine.plan", 1)
    (kept,) = TensorRtBackend()._cache.folder.glob("*.plan")
    assert engine.read_bytes() == kept.read_bytes()
    assert (tmp_path / "model.onnx").read_bytes() == made


def test_other_settings_are_another_engine(machine: Machine, model: bytes) -> None:
    TensorRtBackend().load(model, RunSettings()).close()
    TensorRtBackend(optimization_level=5).load(model, RunSettings()).close()
    TensorRtBackend(workspace_mib=64).load(model, RunSettings()).close()
    TensorRtBackend().load(model, RunSettings("tf32")).close()
    assert machine.builds == 4
    TensorRtBackend().load(model, RunSettings(threads=2)).close()
    assert machine.builds == 4


def test_kernel_timings_are_kept_for_a_device_and_a_version(machine: Machine, model: bytes) -> None:
    backend = TensorRtBackend()
    backend.load(model, RunSettings()).close()
    assert "timing cache of 0 bytes" in machine.calls
    TensorRtBackend().load(model, RunSettings("fp16")).close()
    assert "timing cache of 5 bytes" in machine.calls
    machine.calls.clear()
    machine.name = "NVIDIA Other"
    TensorRtBackend().load(model, RunSettings()).close()
    assert "timing cache of 0 bytes" in machine.calls


def test_timings_that_tensorrt_does_not_take_are_made_anew(machine: Machine, model: bytes) -> None:
    TensorRtBackend().load(model, RunSettings()).close()
    machine.cache_refused = b"timed"
    machine.build_fails = "no kernel"
    with pytest.raises(BackendError, match="cannot be built: no kernel"):
        TensorRtBackend().load(model, RunSettings("fp16"))
    machine.build_fails = ""
    machine.calls.clear()
    TensorRtBackend().load(model, RunSettings("fp16")).close()
    assert "timing cache of 0 bytes" in machine.calls


def test_the_engines_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=25)
    for number, name in enumerate(("first", "second")):
        cache.keep(name, b"x" * 10, b"")
        os.utime(tmp_path / f"{name}.plan", (number, number))
    assert cache.engine("first") == b"x" * 10  # used now, so that the second is the oldest
    cache.keep("third", b"x" * 10, b"")
    assert (cache.engine("first"), cache.engine("second")) == (b"x" * 10, None)
    assert cache.engine("third") == b"x" * 10


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "Orin"}, "built for the GPU NVIDIA Stand-in, and here is the GPU Orin"),
        ({"capability": (9, 0)}, "compute capability 8.7, and here is compute capability 9.0"),
        ({"driver": 12060}, r"a driver for CUDA 13\.2, and here is a driver for CUDA 12\.6"),
    ],
)
def test_an_engine_of_another_machine_says_what_it_was_built_for(
    machine: Machine, model: bytes, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    engine = TensorRtBackend().save(model, RunSettings(), tmp_path)[0]
    for name, value in changed.items():
        setattr(machine, name, value)
    machine.calls.clear()
    with pytest.raises(BackendError, match=words):
        TensorRtBackend().open(engine, RunSettings())
    assert "deserialize" not in machine.calls


def test_an_engine_of_another_version_or_driver_is_refused(
    machine: Machine, backend: TensorRtBackend, model: bytes, tmp_path: Path
) -> None:
    engine = backend.save(model, RunSettings(), tmp_path)[0]
    record = tmp_path / "engine.tensorrt.json"
    written = json.loads(record.read_text())
    written["built_for"] |= {"tensorrt": "11.4.0"}
    record.write_text(json.dumps(written))
    with pytest.raises(
        BackendError, match=r"TensorRT 11\.4\.0, and here is TensorRT 10\.3\.0: build it again"
    ):
        backend.open(engine, RunSettings())
    with pytest.raises(BackendError, match="is for fp32, not fp16"):
        backend.open(engine, RunSettings("fp16"))


def test_a_corrupt_engine_is_a_backend_error_before_and_in_tensorrt(
    machine: Machine, backend: TensorRtBackend, model: bytes, tmp_path: Path
) -> None:
    engine = backend.save(model, RunSettings(), tmp_path)[0]
    engine.write_bytes(b"x" * 100)
    with pytest.raises(BackendError, match="was changed or cut short"):
        backend.open(engine, RunSettings())
    (kept,) = backend._cache.folder.glob("*.plan")
    kept.write_bytes(b"x" * 100)
    with pytest.raises(BackendError, match=r"Magic tag does not match. Delete it, and build it again"):
        backend.load(model, RunSettings())
    assert machine.memory == {}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ("unsupported node", "n1", "NonMaxSuppression", "no importer\nfor it"),
            r"TensorRT 10\.3\.0 does not run node 'n1' \(NonMaxSuppression\): no importer for it\. Take",
        ),
        (("other", "", "", "bad"), "the model cannot be read at the graph: bad. Check it with"),
    ],
)
def test_a_model_that_is_not_parsed_names_the_operator(
    backend: TensorRtBackend, machine: Machine, model: bytes, error: tuple[str, ...], words: str
) -> None:
    machine.errors_of_the_parser = [error]  # type: ignore[list-item]
    with pytest.raises(BackendError, match=words) as caught:
        backend.load(model, RunSettings())
    assert "\n" not in str(caught.value)


def test_a_build_that_fails_says_why_and_leaves_nothing(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    machine.build_fails = "Error Code 2: OutOfMemory\n(no further information)"
    with pytest.raises(BackendError, match=r"cannot be built: Error Code 2: OutOfMemory .*less workspace"):
        backend.load(model, RunSettings())
    assert not backend._cache.folder.exists()
    machine.build_fails = ""
    backend.load(model, RunSettings()).close()


@pytest.mark.parametrize("step", ["cudaMalloc", "cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_full_memory_says_what_to_do_and_frees_what_was_taken(
    backend: TensorRtBackend, machine: Machine, model: bytes, step: str
) -> None:
    machine.refuse[step] = Code.cudaErrorMemoryAllocation
    with pytest.raises(BackendError, match=r"the GPU's memory is full\. Take a smaller batch"):
        backend.load(model, RunSettings())
    assert machine.memory == {}


def test_no_execution_context_is_a_backend_error(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    machine.context_fails = True
    with pytest.raises(BackendError, match="cannot be made ready: TensorRT gives no reason"):
        backend.load(model, RunSettings())


def test_a_run_that_does_not_start_is_a_backend_error(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    machine.refuse["execute"] = Code.cudaErrorNoDevice
    with pytest.raises(BackendError, match="a run cannot be started: TensorRT gives no reason"):
        backend.load(model, RunSettings())
    assert machine.memory == {}


def test_progress_is_that_of_the_outermost_phase(machine: Machine, model: bytes) -> None:
    seen: list[BuildProgress] = []
    TensorRtBackend(on_progress=seen.append).load(model, RunSettings()).close()
    assert seen == [BuildProgress("Building", done, 2) for done in (0, 1, 2, 2)]


def test_ctrl_c_in_a_build_ends_it(machine: Machine, model: bytes) -> None:
    def interrupt(progress: BuildProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TensorRtBackend(on_progress=interrupt).load(model, RunSettings())
    assert machine.builds == 0


def test_a_profile_says_how_far_a_long_build_is(
    machine: Machine, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.profile.bench._TOLD_EVERY_S", -1.0)
    told: list[str] = []
    backend = TensorRtBackend()
    bench = Bench(
        space=tiny,
        backend=backend,
        settings=RunSettings(),
        batch=1,
        device="gpu",
        plan=Plan(),
        deadline=0.0,
        on_progress=lambda progress: told.append(progress.text),
        on_step=lambda step: None,
    )
    with ExitStack() as stack:
        bench.networks(stack, [Architecture.from_indices(tiny, (3, 0, 1)).text])
    network = "building network 1 of 1"
    assert told == [network, *(f"{network}, Building: {done} of 2" for done in (0, 1, 2, 2))]


def test_the_layers_of_an_engine_folder_are_timed(machine: Machine, tmp_path: Path) -> None:
    architecture = parse_architecture("PONAS-A", build_space("ponas", 32, 10))
    for backend, precision in (("tensorrt", "fp16"), ("onnxruntime", "fp32"), ("tensorrt", "")):
        conditions = Conditions("gpu", backend, precision or "fp16", 1, 1)
        folder = tmp_path / f"{backend}{precision}"

        def fill(to: Path, conditions: Conditions = conditions) -> None:
            build(architecture, random_weights(architecture), conditions, to)

        names = {"tensorrt": "engine.plan", "onnxruntime": "engine.optimized.onnx"}
        manifest = Manifest.of(architecture, conditions, "random", "2026-11-20T00:00:00+00:00")
        emit(replace(manifest, engine_file=names[backend] if precision else ""), folder, fill)
    assert layer_times_ms(tmp_path / "tensorrtfp16") == (("first", 0.5), ("second", 1.5))
    with pytest.raises(BackendError, match="onnxruntime: does not time layers"):
        layer_times_ms(tmp_path / "onnxruntimefp32")
    with pytest.raises(BackendError, match="holds no engine"):
        layer_times_ms(tmp_path / "tensorrt")
    console = Console(file=StringIO(), width=80)
    console.print(layers_report((("[conv] + relu", 0.5), ("gemm", 1.5))))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [" ".join(line.split()) for line in written.splitlines()]
    assert "[conv] + relu 0.5000 ms 25.0 %" in rows


def test_trained_weights_get_no_scales_of_random_images(
    machine: Machine, tiny: Space, images: np.ndarray, tmp_path: Path
) -> None:
    """By way of the command line's own steps, to the manifest."""
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    trained = WeightsSource("w.safetensors, as they are", lambda a: random_weights(a, 0))
    conditions = Conditions("gpu", "tensorrt", "int8", 1, 2)
    with pytest.raises(PonasError, match=r"w.safetensors.* --calibration FILE.npy, or name .* --data"):
        build_and_measure(architecture, trained, conditions, tmp_path / "none")
    assert machine.builds == 0
    assert trained.scale_images("fp16") is None
    assert random_source().scale_images("int8") is None

    size = tiny.resolution
    shown = np.random.default_rng(1).standard_normal((3, 3, size, size)).astype(np.float32)
    source = replace(trained, images=lambda: shown)
    folder = tmp_path / "engine"
    folder.mkdir()
    given = source.scale_images("int8")
    assert given is not None
    engine = build(architecture, source.tensors(architecture), conditions, folder, given)
    fed = (folder / "engine.onnx").read_bytes()
    model = (folder / "model.onnx").read_bytes()
    wanted = TensorRtBackend(calibration=Calibration(shown)).fed_model(model, "int8")
    assert fed == wanted != TensorRtBackend().fed_model(model, "int8")
    made_in = _on_this_machine(source, conditions, engine)["environment"]
    assert "maximum of 3 images" in dict(made_in)["int8_scales"]
    with pytest.raises(BackendError, match=r"the images are \(3, 8, 8\) each, the model takes"):
        build(architecture, source.tensors(architecture), conditions, tmp_path / "other", shown[:, :, :8, :8])
    with pytest.raises(BackendError, match="takes no images"):
        backend_for(Conditions("cpu", "fake", "fp32", 1, 1), shown)


def test_scales_come_from_the_images_that_are_given(
    machine: Machine, model: bytes, images: np.ndarray
) -> None:
    bright = TensorRtBackend(calibration=Calibration(5 * images))
    plain = TensorRtBackend(calibration=Calibration(images))
    assert bright.fed_model(model, "int8") != plain.fed_model(model, "int8")
    assert "2 images" in dict(plain.environment())["int8_scales"]
    assert images.shape == SHAPE


def test_the_environment_names_what_an_engine_depends_on(backend: TensorRtBackend) -> None:
    environment = dict(backend.environment())
    assert environment["runtime"] == "tensorrt 10.3.0"
    assert environment["gpu"] == backend.device_name == "NVIDIA Stand-in"
    assert (environment["compute_capability"], environment["cuda"]) == ("8.7", "13.2")
    assert environment["build"] == BuildPlan().text == replace(BuildPlan(), tf32=True).text
