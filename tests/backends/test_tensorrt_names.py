"""Every name of TensorRT and CUDA that our files use, against the real bindings: no GPU, no TensorRT needed.

TensorRT's own bindings (`pip install --no-deps tensorrt-cu13-bindings`) want three libraries, of which they
need nine C functions to be imported. Those are compiled here and return null: every class, method and
argument can then be looked at, in a process of its own. For 10.0 and 10.3 the same was done once and written
down.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tensorrt_standin
from tensorrt_uses import ONLY_FOR_RTX, CudaUse, Gatherer, cuda_uses, every_name, faults, identifiers, sources

HERE = Path(__file__).resolve().parent
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
    "initLibNvInferPlugins",
)


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names of the installed bindings."""
    found = find_spec("tensorrt_bindings")
    if found is None or not found.submodule_search_locations:
        pytest.skip("TensorRT's bindings are not installed: pip install --no-deps tensorrt-cu13-bindings")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("there is no C compiler to make empty libraries with: install gcc or clang")
    package = Path(next(iter(found.submodule_search_locations)))
    (major,) = set(re.findall(rb"libnvinfer\.so\.(\d+)", (package / "tensorrt.so").read_bytes()))
    folder = tmp_path_factory.mktemp("libraries")
    source = folder / "nothing.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for name in LIBRARIES:
        library = f"lib{name}.so.{major.decode()}"
        subprocess.run(
            [compiler, "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", folder / library, source],
            check=True,
        )
    done = subprocess.run(
        [sys.executable, HERE / "tensorrt_names.py", package.parent],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def recorded(version: str) -> dict[str, Any]:
    """The names of an older version, as they were written down."""
    found: dict[str, Any] = json.loads((HERE / f"tensorrt_{version}.json").read_text())
    assert found["version"].startswith(f"{version}.")
    return found


@pytest.fixture(scope="module")
def gathered(newest: dict[str, Any]) -> Gatherer:
    return Gatherer(newest["names"], sources())


def test_every_name_that_we_use_is_in_the_real_bindings(
    newest: dict[str, Any], gathered: Gatherer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert int(newest["version"].split(".")[0]) >= 11
    assert [fault for use in gathered.uses for fault in faults(use, newest["names"], newest["version"])] == []
    names = {use.name for use in gathered.uses}
    assert {*ONLY_FOR_RTX, "__version__"} <= names, "what is asked of `Library.load()` is seen too"
    with capsys.disabled():
        print(
            f"\n{len(names)} names of TensorRT, used {len(gathered.uses)} times: all in {newest['version']}"
        )


@pytest.mark.parametrize("version", ["10.0", "10.3"])
def test_every_name_that_we_use_was_there_before(gathered: Gatherer, version: str) -> None:
    older = recorded(version)
    known = set(older["every_name"])
    assert [fault for use in gathered.uses for fault in faults(use, older["names"], version)] == []
    ours = [use for use in gathered.uses if use.name not in ONLY_FOR_RTX and not use.guarded]
    assert [use.name for use in ours if use.member not in known] == []


@pytest.mark.parametrize("version", ["10.0", "10.3"])
def test_nothing_is_used_that_came_or_went_with_a_version(newest: dict[str, Any], version: str) -> None:
    """By the bare names, in case a use was not recognised; those of Python and of our own values left out."""
    before, now = set(recorded(version)["every_name"]), every_name(newest["names"])
    ours = {*dir(dict), "precision"}
    used = {name: place for name, place in identifiers(sources()).items() if name not in ours}
    assert {name: used[name] for name in used.keys() & (before ^ now)} == {}
    assert {"EXPLICIT_BATCH", "FP16", "IInt8Calibrator", "set_calibration_profile"} <= before - now


def test_the_gatherer_follows_types_and_sees_what_is_wrong(newest: dict[str, Any]) -> None:
    source = """
def build(log: trt.ILogger) -> trt.IBuilderConfig:
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.FP16)
    config.int8_calibrator = None
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size=1)
    config.set_timing_cache(b"")
    config.get_timing_cache(b"")
    getattr(trt.BuilderFlag, "INT8", None)
    return config

class Monitor(trt.IProgressMonitor):
    def phase_begin(self, name): ...
    def step_complete(self, phase_name): ...

class Holder:
    def keep(self) -> None:
        self.config: trt.IBuilderConfig = build(1)
        self.config.max_workspace_size = 1
        build(1).clear_everything()
"""
    gathered = Gatherer(newest["names"], {"x.py": source})
    found = [
        fault.partition(": ")[2] for use in gathered.uses for fault in faults(use, newest["names"], "11")
    ]
    assert sorted(found) == [
        "IBuilderConfig.get_timing_cache of TensorRT 11 takes [], not 1 arguments",
        "IBuilderConfig.set_memory_pool_limit of TensorRT 11 has no argument 'size'",
        "IProgressMonitor.step_complete of TensorRT 11 takes ['phase_name', 'step'], not 1 arguments",
        "TensorRT 11 has no BuilderFlag.FP16",
        "TensorRT 11 has no IBuilderConfig.clear_everything",
        "TensorRT 11 has no IBuilderConfig.int8_calibrator",
        "TensorRT 11 has no IBuilderConfig.max_workspace_size",
        "TensorRT 11 has no IProgressMonitor.phase_begin",
        "TensorRT 11 has no NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
    ]


def test_the_stand_in_has_no_name_that_tensorrt_lacks(newest: dict[str, Any]) -> None:
    module = tensorrt_standin.tensorrt(tensorrt_standin.Machine())
    assert set(vars(module)) <= set(newest["names"])
    builder = module.Builder(None)
    for name, value in (("IBuilderConfig", builder.create_builder_config()), ("Builder", builder)):
        members = {member for member in dir(value) if not member.startswith("_")}
        assert members - set(newest["names"][name]) <= {"given", "logger"}


def test_every_name_of_cuda_is_in_the_real_bindings(capsys: pytest.CaptureFixture[str]) -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    uses = list(cuda_uses())
    assert [fault for use in uses for fault in _cuda_faults(use, runtime)] == []
    with capsys.disabled():
        print(f"\n{len({use.name for use in uses})} names of cuda.bindings.runtime, all there")
    unknown = (CudaUse("cudaNothing", ""), CudaUse("cudaFree", "", 2))
    assert all(list(_cuda_faults(use, runtime)) for use in unknown)


def test_the_real_cuda_bindings_say_what_is_missing_here() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    from ponas_deploy.backends._cuda import Cuda
    from ponas_deploy.errors import BackendError

    count = import_module("cuda.bindings.runtime").cudaGetDeviceCount()[1]
    if count:
        assert Cuda("tensorrt").gpu.name
    else:
        with pytest.raises(
            BackendError, match=r"^tensorrt: (there is no|the driver knows|CUDA shows no).*: "
        ):
            Cuda("tensorrt")


def _cuda_faults(use: CudaUse, runtime: Any) -> list[str]:
    """A name that is not there, or a call with another number of arguments than its docstring shows."""
    found = runtime
    for part in use.name.split("."):
        found = getattr(found, part, None)
    if found is None:
        return [f"{use.place}: no {use.name}"]
    signature = re.match(rf"{use.name}\(([^*\n]*)\)", found.__doc__ or "")
    if use.arguments is None or signature is None:
        return []
    takes = len([part for part in signature[1].split(",") if part.strip()])
    return [] if takes == use.arguments else [f"{use.place}: {use.name} takes {takes}, not {use.arguments}"]
