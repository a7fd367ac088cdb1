"""The GPU as a device: its runtimes, its plan, and a profile through a program that stands in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.fake import FakeBackend
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.machines import gpu
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.place import HERE
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import making
from ponas_deploy.profiling.devices import Inventory, Runtime, runtimes
from ponas_deploy.profiling.places import reached
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.supervise import Timeouts
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.latency import Conditions
from registered import use_factory
from searchspace import Space


class OnGpu(FakeBackend):
    """A runtime of the GPU that is arithmetic."""

    name = "onnxruntime-cuda"
    on_gpu = True


class OnCpu(FakeBackend):
    """PyTorch where it sees no GPU."""

    name = "torch"
    on_gpu = False
    why_not_gpu = "torch 2.15 sees no GPU"


def refused() -> FakeBackend:
    raise BackendError("tensorrt", "cannot be imported: pip install tensorrt.")


class Trtexec(OnGpu):
    name = "trtexec"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.this_gpu.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def h200(monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine with a GPU and these runtimes."""
    monkeypatch.setattr(gpu, "this_gpu", lambda: "nvidia-h200")
    for name, factory in (
        ("tensorrt", "refused"),
        ("trtexec", "Trtexec"),
        ("onnxruntime-cuda", "OnGpu"),
        ("torch", "OnCpu"),
    ):
        use_factory(monkeypatch, name, f"{__name__}:{factory}")
    return "nvidia-h200"


def test_a_target_on_the_gpu_is_of_this_machine(h200: str, tiny: Space) -> None:
    for device in ("gpu", "GPU", "NVIDIA H200"):
        target = Target(device)
        assert (target.local, target.on_gpu, target.device_name) == (True, True, h200)
    processor = Target("cpu")
    assert (processor.local, processor.on_gpu, processor.device_name) == (True, False, this_machine().name)
    elsewhere = Target("jetson")
    assert (elsewhere.local, elsewhere.on_gpu, elsewhere.device_name) == (False, False, "jetson")


def test_a_target_on_a_gpu_that_is_not_there(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "this_gpu", lambda: "")
    target = Target("gpu")
    assert target.local
    with pytest.raises(PonasError, match="no NVIDIA GPU answers here"):
        making.missing(target, ())
    assert not Target("").on_gpu


def test_what_a_gpu_is_profiled_with(h200: str, tiny: Space) -> None:
    names = [(runtime.backend, bool(runtime.problem)) for runtime in runtimes(on_gpu=True)]
    assert names == [("tensorrt", True), ("trtexec", False), ("onnxruntime-cuda", False), ("torch", True)]
    assert making.missing(Target("gpu"), ()) == (
        Conditions(h200, "trtexec", "fp32", 1, 1),
        Conditions(h200, "onnxruntime-cuda", "fp32", 1, 1),
    )
    assert making.missing(Target("gpu", ("onnxruntime-cuda",), ("bf16",), 1, 8), ()) == (
        Conditions(h200, "onnxruntime-cuda", "bf16", 1, 8),
    )


def test_a_table_is_never_named_after_the_other_processor(h200: str, tiny: Space) -> None:
    why = r"torch runs on the CPU here \(torch 2.15 sees no GPU\): .* one of tensorrt, onnxruntime-cuda\."
    with pytest.raises(PonasError, match=why):
        making.missing(Target("gpu", ("torch",)), ())
    with pytest.raises(PonasError, match="onnxruntime-cuda runs on the GPU here: ask for --device gpu"):
        making.missing(Target("cpu", ("onnxruntime-cuda",)), ())
    assert making.local_conditions("onnxruntime-cuda", None, 1, 1).device == h200
    assert making.local_conditions("torch", None, 1, 1).device == this_machine().name


def test_a_gpu_is_measured_in_samples_of_two_milliseconds(
    h200: str, tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan_for("onnxruntime") == Plan()
    assert plan_for("torch").sample_ns == 2_000_000
    assert plan_for("trtexec").retakes == 0
    asked = []

    def caught(request: SimpleNamespace, on_progress: Callable[..., None] | None, timeouts: Timeouts) -> None:
        asked.append((request, timeouts))
        raise PonasError("that is enough.")

    monkeypatch.setattr("ponas_deploy.profiling.supervise.profile_in_worker", caught)
    for backend, sample_ns, no_output_s in (
        ("onnxruntime-cuda", 2_000_000, 1800.0),
        ("torch-compile", 2_000_000, 1800.0),
        ("onnxruntime", 1_000_000, 0.0),
    ):
        with pytest.raises(PonasError, match="enough"):
            making.make_table(
                Conditions(h200, backend, "fp32", 1, 1),
                tiny,
                time_budget_s=1,
                path=tmp_path / f"{backend}.json",
            )
        request, timeouts = asked[-1]
        assert (request.plan.sample_ns, timeouts.building_s) == (sample_ns, no_output_s)


def test_devices_show_the_gpu_with_its_runtimes() -> None:
    from rich.console import Console

    from ponas_deploy.commands.reports.devices import devices_report

    runtimes = (Runtime("tensorrt", ("fp32", "fp16")), Runtime("torch", problem="torch: no driver."))
    found = Inventory(this_machine(), (), "nvidia-h200", runtimes, {}, Path("store"), ())
    console = Console(file=StringIO(), width=100, record=True)
    console.print(*devices_report(found, ()))
    text = console.export_text()
    assert "Its GPU: nvidia-h200" in text
    assert "fp32, fp16" in text
    assert "torch: no driver." in text
    console.print(*devices_report(replace(found, gpu="", gpu_runtimes=()), ()))
    assert "Its GPU" not in console.export_text()


def test_a_profile_through_trtexec(tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes and files for real; what takes time is the size of the engine."""
    from ponas_deploy.backends.trtexec import VARIABLE, TrtexecBackend, _probe

    source = Path(__file__).parents[1] / "backends" / "stand_in_trtexec.py"
    program = tmp_path / "trtexec"
    program.write_text(f"#!{sys.executable} -SE\n{source.read_text(encoding='utf-8')}", encoding="utf-8")
    program.chmod(0o755)
    for name, value in (
        (VARIABLE, str(program)),
        ("STAND_IN_LOG", str(tmp_path / "log")),
        ("STAND_IN_MS_A_BYTE", "1e-6"),
    ):
        monkeypatch.setenv(name, value)
    _probe.cache_clear()
    plan = Plan(sample_ns=200_000, min_rounds=3, floor_rounds=3, max_rounds=3, retakes=0, sentinel_visits=500)
    table = profile(
        tiny, TrtexecBackend(), RunSettings("fp16"), device="nvidia-orin", time_budget_s=0.0, plan=plan
    )
    assert table.conditions == Conditions("nvidia-orin", "trtexec", "fp16", 1, 1)
    assert dict(table.environment)["runtime"] == "trtexec of TensorRT 10.3.0"
    assert dict(table.environment)["streams"] == "1"
    proof = table.certificate
    assert proof is not None
    assert proof.mean_error_pct < 1


def test_a_jetson_that_profiles_itself_is_told_of_its_clock(
    h200: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a board is that is reached over a link; the processor is not the GPU's table's business."""
    free = (("governor", "schedutil"), ("gpu_clocks", "306-1020 MHz"), ("gpu_governor", "nvhost_podgov"))
    monkeypatch.setattr(HERE, "conditions", lambda: free)
    for device, said in (("gpu", 1), ("cpu", 0)):
        notes: list[str] = []
        with reached(Target(device), "profile", notes.append) as place:
            assert place is HERE
        assert len(notes) == said
        assert all("`sudo jetson_clocks` locks it" in note for note in notes)
