"""bf16 and fp16, for real on the CPU: they learn, scale their gradients, and resume."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import FINE_TUNE, META, changed, known, one_thread, space, splits

from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.weights import read_weights
from train.compute import Compute
from train.progress import TrainingProgress
from train.runs import train_run
from train.settings import TrainSettings
from train.stages import train_meta
from train.stages.descent import Descent


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    with one_thread():
        yield


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_what_float32_learns(precision: str) -> None:
    compute = Compute.on("cpu", 1, precision)
    network, found = train_meta(space(), splits(), replace(META, epochs=20), seed=1, compute=compute)
    assert compute.text == f"cpu, {precision} autocast"
    assert found.top1_pct > 80
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


def interrupted(settings: TrainSettings, folder: Path, stage: str, done: int) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == stage and progress.done == done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(settings, folder, interrupt)


def test_an_fp16_run_goes_on_with_its_gradient_scale(tmp_path: Path) -> None:
    settings = changed(precision="fp16", meta=META, fine_tune=replace(FINE_TUNE, epochs=1))
    unbroken = train_run(settings, tmp_path / "unbroken")
    interrupted(settings, tmp_path / "broken", "meta", 7)
    state = read_weights(tmp_path / "broken" / "meta.state.safetensors")
    assert '"scale": ' in state.metadata["gradient_scale"]
    result = train_run(settings, tmp_path / "broken")
    assert result.table.top1 == unbroken.table.top1
    assert result.best == unbroken.best


class Overflowing(torch.autograd.Function):
    """The identity, whose gradient is too large for fp16 until it is scaled down far enough."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0].half().mul(4).float()  # 65536 x 4 is infinite in fp16


def test_a_step_whose_scaled_gradient_overflows_is_left_out_and_the_scale_falls() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    compute = Compute.on("cpu", 1, "fp16")
    scaler = compute.scaler()
    descent = Descent(torch.optim.SGD([weight], lr=0.5), scaler)
    values, losses = [], []
    for _ in range(4):
        descent.backward(Overflowing.apply(weight).sum())
        losses.append(descent.step())
        values.append(weight.item())
    assert losses == [1.0] * 4
    assert values == [1.0, 1.0, 1.0, -1.0]
    assert scaler.get_scale() == 2.0**13


@pytest.mark.parametrize(
    ("able", "precision", "expected"),
    [
        (True, "auto", torch.bfloat16),
        (False, "auto", torch.float16),
        (True, "fp16", torch.float16),
        (False, "fp32", None),
    ],
)
def test_a_gpu_without_bf16_computes_in_fp16(
    monkeypatch: pytest.MonkeyPatch, able: bool, precision: str, expected: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    compute = Compute.on("auto", precision=precision)
    assert (compute.device.type, compute.autocast) == ("cuda", expected)


def test_bf16_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(PonasError, match="this GPU has no bf16: set the precision to fp16, or auto"):
        Compute.on("cuda", precision="bf16")


def test_the_cpu_computes_in_float32_unless_asked_otherwise() -> None:
    assert Compute.on("cpu").autocast is None
    with pytest.raises(UnknownNameError, match="unknown precision 'int8': known are auto, bf16, fp16, fp32"):
        Compute.on("cpu", precision="int8")


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "3", "MASTER_ADDR": "here", "MASTER_PORT": "1"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(PonasError, match="finds only 2 GPUs: start at most 2 processes, --nproc-per-node 2"):
        Compute.on("cuda")
