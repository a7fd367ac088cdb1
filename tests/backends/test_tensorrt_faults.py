"""TensorRT that is missing, too old or full, or refuses: one sentence for each, on a stand-in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorrt_standin import Code, Machine

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends.tensorrt import TensorRtBackend
from ponas_deploy.errors import BackendError


def test_cuda_is_asked_for_a_gpu_before_tensorrt_is_touched(machine: Machine) -> None:
    TensorRtBackend()
    assert machine.calls.index("cudaGetDeviceCount") < machine.calls.index("Runtime")
    machine.refuse["cudaGetDeviceCount"] = Code.cudaErrorNoDevice
    machine.calls.clear()
    with pytest.raises(BackendError, match=r"shows no GPU .*nvidia-smi"):
        TensorRtBackend()
    assert "Runtime" not in machine.calls


def test_a_driver_that_is_missing_or_too_old_is_distinguished(machine: Machine) -> None:
    machine.refuse["cudaGetDeviceCount"] = Code.cudaErrorInsufficientDriver
    machine.driver = 12060
    with pytest.raises(BackendError, match=r"knows CUDA 12\.6.*is for 13\.5.*cuda-bindings==12\.\*"):
        TensorRtBackend()
    machine.driver = 0
    with pytest.raises(BackendError, match="no NVIDIA driver here: install one"):
        TensorRtBackend()


@pytest.mark.parametrize(
    ("driver", "runtime", "advice"),
    [
        (12060, 12090, r"for 12\.9: .* newer driver, or pip install 'cuda-bindings==12\.8\.\*'\.$"),
        (12060, 12080, r"for 12\.8: install a newer driver\.$"),
        (13000, 13020, r"for 13\.2: install a newer driver\.$"),
        (
            12080,
            13020,
            r"newer driver \(580 or later for CUDA 13\), or replace both packages .*: pip uninstall tensorrt"
            r" tensorrt-cu13, then pip install tensorrt-cu12 'cuda-bindings==12\.\*'\.$",
        ),
    ],
)
def test_what_replaces_packages_that_the_driver_is_too_old_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, driver: int, runtime: int, advice: str
) -> None:
    machine.refuse["cudaGetDeviceCount"] = Code.cudaErrorInsufficientDriver
    machine.driver = driver
    api = sys.modules["cuda.bindings.runtime"]
    monkeypatch.setattr(api, "cudaRuntimeGetVersion", lambda: (Code.cudaSuccess, runtime))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(BackendError, match=advice):
        TensorRtBackend()


def test_a_board_replaces_the_bindings_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.refuse["cudaGetDeviceCount"] = Code.cudaErrorInsufficientDriver
    machine.driver = 12060
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(BackendError, match=r"for 13\.5: .*, or pip install 'cuda-bindings==12\.\*'\.$"):
        TensorRtBackend()


def test_bindings_that_raise_without_a_driver_are_one_sentence(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As cuda-bindings 12.8.0 does."""

    def raises() -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(sys.modules["cuda.bindings.runtime"], "cudaGetDeviceCount", raises)
    with pytest.raises(BackendError, match=r"no NVIDIA driver here: install one.*\(Failed to dlopen"):
        TensorRtBackend()


def test_a_tensorrt_of_an_older_jetpack_is_refused_by_version(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "8.6.2")
    with pytest.raises(BackendError, match=r"TensorRT 8\.6\.2 is too old: .* JetPack 6\.1 or later"):
        TensorRtBackend()
    assert "Runtime" not in machine.calls


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
    def missing(name: str) -> None:
        raise error

    monkeypatch.setattr("ponas_deploy.backends._tensorrt_library.import_module", missing)
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


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"multiprocessors": 16}, "built for multiprocessors: 8, and here is multiprocessors: 16: build it"),
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
    machine: Machine, tensorrt: TensorRtBackend, model: bytes, tmp_path: Path
) -> None:
    engine = tensorrt.save(model, RunSettings(), tmp_path)[0]
    record = tmp_path / "engine.tensorrt.json"
    written = json.loads(record.read_text())
    written["built_for"] |= {"tensorrt": "11.4.0"}
    record.write_text(json.dumps(written))
    with pytest.raises(
        BackendError, match=r"TensorRT 11\.4\.0, and here is TensorRT 10\.3\.0: build it again"
    ):
        tensorrt.open(engine, RunSettings())
    with pytest.raises(BackendError, match="is for fp32, not fp16"):
        tensorrt.open(engine, RunSettings("fp16"))


def test_a_corrupt_engine_is_a_backend_error_before_and_in_tensorrt(
    machine: Machine, tensorrt: TensorRtBackend, model: bytes, tmp_path: Path
) -> None:
    engine = tensorrt.save(model, RunSettings(), tmp_path)[0]
    engine.write_bytes(b"x" * 100)
    with pytest.raises(BackendError, match="was changed or cut short"):
        tensorrt.open(engine, RunSettings())
    (kept,) = tensorrt._cache.folder.glob("*.plan")
    kept.write_bytes(b"x" * 100)
    with pytest.raises(BackendError, match=r"Magic tag does not match. Delete it, and build it again"):
        tensorrt.load(model, RunSettings())
    assert machine.memory == {}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            (code, "n1", "NonMaxSuppression", f"{words}\nfor it"),
            rf"TensorRT 10\.3\.0 does not run node 'n1' \(NonMaxSuppression\): {words} for it\. Take",
        )
        for code, words in (
            ("UNSUPPORTED_NODE", "no"),
            ("UNSUPPORTED_NODE_ATTR", "an attribute"),
            ("UNSUPPORTED_NODE_DYNAMIC", "a shape"),
            ("UNSUPPORTED_GRAPH", "a graph"),
            ("INVALID_NODE", "No importer registered for op: X. Attempting to import as plugin."),
            ("INTERNAL_ERROR", "Plugin not found, are the plugin name, version, and namespace correct"),
        )
    ]
    + [
        (("INVALID_NODE", "", "", "bad"), "the model cannot be read at the graph: bad. Check it with"),
        (("INTERNAL_ERROR", "n1", "Conv", "bad"), r"cannot be read at node 'n1' \(Conv\): bad. Check it"),
    ],
)
def test_a_model_that_is_not_parsed_names_the_operator(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes, error: tuple[str, ...], words: str
) -> None:
    machine.errors_of_the_parser = [error]  # type: ignore[list-item]
    with pytest.raises(BackendError, match=words) as caught:
        tensorrt.load(model, RunSettings())
    assert "\n" not in str(caught.value)


def test_a_build_that_fails_says_why_and_leaves_nothing(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    machine.build_fails = "Error Code 2: OutOfMemory\n(no further information)"
    with pytest.raises(
        BackendError, match=r"cannot be built: Error Code 2: OutOfMemory .*less workspace than 1024"
    ):
        tensorrt.load(model, RunSettings())
    assert not tensorrt._cache.folder.exists()
    machine.build_fails = ""
    tensorrt.load(model, RunSettings()).close()


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("no tactics within workspace limit. Consider increase the allowed workspace size", "Allow more wor"),
        ("requires workspace memory greater than 0. Please increase the workspace memory", "Allow more work"),
        ("Requested amount of GPU memory could not be allocated: out of memory", "Allow less workspace than"),
        ("Could not find any implementation for node n1", "Take another precision, another backend, or a n"),
    ],
)
def test_what_to_do_about_a_failed_build_follows_from_the_log(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes, said: str, advice: str
) -> None:
    machine.build_fails = said
    with pytest.raises(BackendError) as caught:
        tensorrt.load(model, RunSettings())
    assert f"{said}. {advice}" in str(caught.value)
    assert str(caught.value).count("workspace than") == advice.startswith("Allow")


@pytest.mark.parametrize("step", ["cudaMalloc", "cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_full_memory_says_what_to_do_and_frees_what_was_taken(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes, step: str
) -> None:
    machine.refuse[step] = Code.cudaErrorMemoryAllocation
    with pytest.raises(BackendError, match=r"the GPU's memory is full\. Take a smaller batch"):
        tensorrt.load(model, RunSettings())
    assert machine.memory == {}


def test_no_execution_context_is_a_backend_error(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    machine.context_fails = True
    with pytest.raises(BackendError, match="cannot be made ready: TensorRT gives no reason"):
        tensorrt.load(model, RunSettings())


def test_a_run_that_does_not_start_is_a_backend_error(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    machine.refuse["execute"] = Code.cudaErrorNoDevice
    with pytest.raises(BackendError, match="a run cannot be started: TensorRT gives no reason"):
        tensorrt.load(model, RunSettings())
    assert machine.memory == {}
