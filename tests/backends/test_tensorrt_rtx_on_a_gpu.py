"""TensorRT for RTX with a GPU, on the stand-in: what its engines are bound to, and who opens them."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorrt_standin
from tensorrt_standin import Machine
from typer.testing import CliRunner, Result

import ponas_deploy as ponas
from ponas_deploy.backends import RunSettings, get_backend, registry
from ponas_deploy.backends.tensorrt import TensorRtBackend, for_rtx
from ponas_deploy.commands import app
from ponas_deploy.engines import timing
from ponas_deploy.errors import BackendError
from ponas_deploy.machines import gpu
from ponas_deploy.measuring.contention import CoreReading
from ponas_deploy.measuring.engine_process import Taken, Timed, single_runs
from ponas_deploy.measuring.place import HERE

SMALL = ("--resolution", "32", "--classes", "10")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_an_engine_is_built_for_the_compute_capability_of_the_gpu(machine: Machine, model: bytes) -> None:
    backend = for_rtx()
    backend.load(model, RunSettings()).close()
    assert machine.flags == [
        "network 2",
        "workspace 1024 MiB",
        "-TF32",
        "SM87 is 0 of 1",
        "level 3 aux 0",
    ]
    environment = dict(backend.environment())
    assert environment["runtime"] == "tensorrt-rtx 1.7.1.116"
    assert environment["build"].endswith("for compute capability 8.7")
    assert environment["gpu"] == "NVIDIA Stand-in"


def test_it_is_bound_to_no_gpu_and_no_driver_but_to_the_capability(
    machine: Machine, model: bytes, tmp_path: Path
) -> None:
    files = for_rtx().save(model, RunSettings(), tmp_path)
    assert files[-1].name == "engine.tensorrt-rtx.json"
    built_for = json.loads(files[-1].read_text())["built_for"]
    assert built_for == {"compute_capability": "8.7", "tensorrt_rtx": "1.7.1.116"}
    machine.name, machine.driver = "NVIDIA Other", 12060
    for_rtx().open(files[0], RunSettings()).close()
    machine.capability = (8, 9)
    with pytest.raises(
        BackendError, match=r"was built for compute capability 8\.7, and here is compute capability 8\.9"
    ):
        for_rtx().open(files[0], RunSettings())
    machine.capability = (8, 7)
    sys.modules["tensorrt_rtx"].__version__ = "1.8.0"  # type: ignore[attr-defined]
    with pytest.raises(
        BackendError, match=r"TensorRT for RTX 1\.7\.1\.116, and here is TensorRT for RTX 1\.8"
    ):
        for_rtx().open(files[0], RunSettings())


def test_engines_of_the_two_libraries_are_kept_apart(machine: Machine, model: bytes, tmp_path: Path) -> None:
    for_rtx().load(model, RunSettings()).close()
    TensorRtBackend().load(model, RunSettings()).close()
    assert machine.builds == 2
    for_rtx().load(model, RunSettings()).close()
    assert machine.builds == 2
    engine = for_rtx().save(model, RunSettings(), tmp_path)[0]
    with pytest.raises(BackendError, match=r"^tensorrt: cannot open the engine: .*engine\.tensorrt\.json"):
        TensorRtBackend().open(engine, RunSettings())


def test_a_gpu_that_it_has_no_engines_for_is_refused(machine: Machine) -> None:
    machine.capability = (9, 0)
    with pytest.raises(BackendError, match=r"no engines for compute capability 9\.0, only for 7\.5, 8\.0"):
        for_rtx()
    assert "Runtime" not in machine.calls
    machine.capability = (7, 5)
    assert for_rtx().precisions() == ("fp16", "int8")


def test_without_the_library_the_install_line_is_its_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        BackendError, match=r"^tensorrt-rtx: cannot be imported .*'ponas-deploy\[tensorrt-rtx\]'"
    ):
        get_backend("tensorrt-rtx")
    assert machine.calls == []


def test_without_cuda_bindings_the_extra_that_is_named_is_its_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    for name in ("tensorrt", "tensorrt-rtx"):
        with pytest.raises(BackendError, match=rf"cuda-bindings cannot .* 'ponas-deploy\[{name}\]'\.$"):
            get_backend(name)


def test_the_bindings_alone_serve_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoModuleOfThatName:
        @staticmethod
        def find_spec(name: str, *given: object) -> None:
            if name == "tensorrt_rtx":
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", sys.modules["tensorrt_rtx"])
    monkeypatch.delitem(sys.modules, "tensorrt_rtx")
    monkeypatch.setattr(sys, "meta_path", [NoModuleOfThatName(), *sys.meta_path])
    assert dict(for_rtx().environment())["runtime"] == "tensorrt-rtx 1.7.1.116"


def test_one_that_is_too_old_is_refused(machine: Machine) -> None:
    sys.modules["tensorrt_rtx"].__version__ = "1.4.0.76"  # type: ignore[attr-defined]
    with pytest.raises(
        BackendError, match=r"TensorRT for RTX 1\.4\.0\.76 is too old: install 1\.7 or later\.$"
    ):
        for_rtx()


@pytest.fixture
def commands(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The stand-in in this process only: engines are built and timed here."""

    def timed_here(timed: Timed) -> tuple[Taken, None]:
        with get_backend(timed.backend).open(timed.engine, timed.settings) as session:
            return Taken(tuple(single_runs(session, 0.0)), CoreReading()), None

    monkeypatch.setattr(HERE, "take", timed_here)
    monkeypatch.setattr(timing, "PROCESSES", 1)
    monkeypatch.setattr(gpu, "this_gpu", lambda: "nvidia-stand-in")
    return machine


def built_ahead_here(
    model: Path,
    backend: str,
    settings: RunSettings,
    images: np.ndarray | None,
    on_build: object,
    capability: str,
) -> Path:
    ahead = registry.ahead_of_time(backend, capability)
    if images is not None:
        ahead.calibrate(images)
    return ahead.save(model.read_bytes(), settings, model.parent)[0]


def test_an_export_on_the_gpu_is_measured(commands: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    done = run("export", "PONAS-A", "--backend", "tensorrt-rtx", *SMALL, "--out", folder, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "measured on nvidia-stand-in"
    assert document["measured"]["p50_ms"] == pytest.approx(tensorrt_standin.MS_A_RUN)
    assert run("verify", folder).exit_code == 0


def test_an_engine_that_was_built_ahead_is_measured_on_such_a_gpu(
    commands: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.building.build_here", built_ahead_here)
    folder = tmp_path / "engine"
    ahead = ("--backend", "tensorrt-rtx", "--compute-capability", "8.9")
    done = run("export", "PONAS-A", *ahead, *SMALL, "--out", folder)
    assert done.exit_code == 0, done.stderr
    assert "still to be measured" in " ".join(done.stdout.split())
    assert run("verify", folder).exit_code == 3, "which GPU is here is not asked"
    other = run("verify", folder, "--here")
    assert other.exit_code == 1
    assert "compute capability 8.9, and here is compute capability 8.7" in other.stderr
    commands.capability = (8, 9)
    here = run("verify", folder, "--here", "--json")
    assert here.exit_code == 0, here.stderr
    assert json.loads(here.stdout)["measured"]["p50_ms"] == pytest.approx(tensorrt_standin.MS_A_RUN)
    status = json.loads(here.stdout)["status"]
    _, _, command = status.partition("writes nothing; `ponas ")
    again = run(*shlex.split(command.partition("`")[0]), "--out", tmp_path / "again", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["status"] == "measured on nvidia-stand-in"
    assert ponas.Engine.read(tmp_path / "again").manifest.space == ponas.Engine.read(folder).manifest.space
    with pytest.warns(UserWarning, match="random"), ponas.load_engine(folder) as engine:
        assert engine(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 10)
    commands.capability = (8, 6)
    with (
        pytest.warns(UserWarning, match="random"),
        pytest.raises(BackendError, match=r"is for GPUs of compute capability 8\.9 and runs on one alone: "),
    ):
        ponas.load_engine(folder)


def test_other_runtimes_build_for_no_compute_capability() -> None:
    for name in ("tensorrt", "onnxruntime", "torch"):
        done = run("export", "PONAS-A", "--backend", name, "--compute-capability", "8.9", *SMALL)
        assert done.exit_code == 1
        assert f"error: {name}: builds engines on the device that runs them" in done.stderr
        assert done.stderr.rstrip().endswith("or take tensorrt-rtx.")


def test_a_compute_capability_is_of_no_device() -> None:
    asked = ("--backend", "tensorrt-rtx", "--compute-capability", "8.9")
    done = run("export", "PONAS-A", "--device", "gpu", *asked)
    assert done.exit_code == 2
    assert "it is for GPUs that are not here: leave --device out." in " ".join(done.stderr.split())
